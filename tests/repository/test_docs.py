"""The documents: what they link to is there, and the README stays one that a newcomer reads."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "notebooks")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "benchmarks" / "README.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link in LINK.findall(text):
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        if "notebooks/" in name:  # made from the notebooks when the site is built
            assert (ROOT / "notebooks" / name.rpartition("/")[2]).with_suffix(".ipynb").exists(), link
            continue
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE))
    assert {str(page.relative_to(ROOT / "docs")) for page in PAGES} == {
        page for page in listed if not page.startswith("notebooks/")
    }


def test_the_readme_takes_two_minutes_and_starts_with_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    top = "\n".join(lines[:12])
    assert "pip install uv && uv run ablations run quickstart" in top
    assert "pip install uv && uv run pytest" in top


def test_hooks_fetch_nothing():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {one["repo"] for one in repositories} == {"local"}
    assert {hook["language"] for one in repositories for hook in one["hooks"]} == {"system"}


def test_pages_need_no_script_from_elsewhere():
    for page in PAGES:
        assert "```mermaid" not in page.read_text()  # which the theme would load over the network
