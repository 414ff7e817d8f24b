"""What can be asked: experiments, their cells and grid, studies, and how they are written and found."""
