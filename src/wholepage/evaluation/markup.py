"""What may stand inside an HTML page: text that is only text, and SVG pictures that only draw.

A picture is parsed and written anew from a list of what is allowed, so that what an HTML parser reads is what was
checked. Ids get a prefix, since several pictures share one document.
"""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree

from wholepage.pages.errors import InputError, shorten

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_ELEMENTS = frozenset(
    {
        *("svg", "g", "defs", "symbol", "use", "title", "desc"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "image"),
        *("clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "stop"),
    }
)
# What matplotlib writes into each picture; in a page it would style everything, so it becomes attributes of the root.
_MATPLOTLIB_STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LOADS = re.compile(r"url\(\s*['\"]?(?!#)|image(-set)?\(|src\(|expression|\\|javascript:", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=\s]*")


def plain_text(text: str) -> str:
    """The text with a replacement sign for what neither HTML nor SVG can hold: control signs, half surrogates."""
    return _UNWRITABLE.sub("\ufffd", text)


def html_text(text: str) -> str:
    """The text as it may stand in HTML, in an element or a quoted attribute."""
    return escape(plain_text(text))


def clean_svg(svg: str, prefix: str) -> str:
    """The picture as markup that can stand in a page.

    Comments, metadata and attributes of editors (other XML namespaces) are left out; they draw nothing.

    Args:
        svg: a whole SVG document, or its ``<svg>`` element.
        prefix: put before each id, so that ids of several pictures differ.
    Raises:
        InputError: not SVG, or it holds a script, style sheet, link, animation, or the address of something outside.
    """
    start = svg.find("<svg")
    try:
        root = ElementTree.fromstring(svg[max(start, 0) :])
    except ElementTree.ParseError as error:
        raise InputError(
            f"figure: got {shorten(svg)!r}, which is no SVG ({error}); allowed: an <svg> element"
        ) from error
    if root.tag not in (f"{_SVG}svg", "svg"):
        raise InputError(f"figure: got a <{root.tag}> element; allowed: <svg>; pass the picture itself")
    root.attrib.setdefault("stroke-linejoin", "round")
    return _written(root, prefix, top=True)


def _written(element: ElementTree.Element, prefix: str, *, top: bool = False) -> str:
    name = element.tag.removeprefix(_SVG)
    if name == "metadata" or name.startswith("{"):
        return ""
    if name == "style" and (element.text or "").strip() == _MATPLOTLIB_STYLE:
        return ""
    if name not in _ELEMENTS:
        raise InputError(f"figure: got the element <{name}>; allowed: {', '.join(sorted(_ELEMENTS))}; remove it")
    attributes = ['xmlns="http://www.w3.org/2000/svg"'] if top else []
    for key, value in element.attrib.items():
        if not key.startswith("{") or key == f"{_XLINK}href":
            plain = key.removeprefix(_XLINK)
            attributes.append(f'{plain}="{escape(_checked(name, plain, value, prefix))}"')
    inside = escape(element.text or "", quote=False) + "".join(
        _written(child, prefix) + escape(child.tail or "", quote=False) for child in element
    )
    return f"<{' '.join([name, *attributes])}>{inside if inside.strip() else ''}</{name}>"


def _checked(element: str, key: str, value: str, prefix: str) -> str:
    where = f"figure: <{element} {key}={shorten(value)!r}>"
    if key.lower().startswith("on") or not re.fullmatch(r"[A-Za-z][\w:.-]*", key, re.ASCII):
        raise InputError(f"{where}: allowed: attributes that draw, not ones that run; remove it")
    if key == "id":
        return f"{prefix}-{value}"
    if key in ("href", "src"):
        if value.startswith("#"):
            return f"#{prefix}-{value[1:]}"
        if element == "image" and _PICTURE.fullmatch(value):
            return value
        raise InputError(f"{where}: allowed: '#id' or a base64 data:image/ picture; put the picture into the file")
    if not key.startswith(("aria-", "data-", "class")) and _LOADS.search(value):
        raise InputError(f"{where}: allowed: url(#id) of the picture itself; a report loads nothing")
    return re.sub(r"url\(\s*['\"]?#([^'\")\s]+)['\"]?\s*\)", rf"url(#{prefix}-\1)", value)
