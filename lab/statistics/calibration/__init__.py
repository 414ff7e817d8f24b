"""Whether the statistics keep their promises: experiments simulated with known truth, one subject a file."""
