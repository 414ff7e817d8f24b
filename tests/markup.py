"""Reading pages: their tags, whether these close, their words."""

import re
from html import unescape
from html.parser import HTMLParser


class Page(HTMLParser):
    """Which tags a page has, whether they close, and what it would load from elsewhere."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value[:1] != "#"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()


def words_of(path):
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", "", path.read_text())))
