"""Tables for papers: a LaTeX tabular in the style of booktabs."""

from collections.abc import Sequence

# Characters that LaTeX treats as commands, and those missing in its text fonts.
ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "%&_#${}"}
    | {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " ",
        "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "∞": r"$\infty$", "†": r"\textdagger{}",
    }
)  # fmt: skip


def escaped(text: str) -> str:
    """Escape a text for LaTeX."""
    return text.translate(ESCAPES)


def tabular(heads: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> str:
    """The table as a tabular environment, to be included with \\input; `alignment` has one letter per column."""
    lines = [_line(row) for row in rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            _line(heads),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
