"""Ways to make a server call what it should not, each with the answers of a name server and of a web server.

``Vector.names`` are look-ups in turn: the first call for a name gets the first list, and so on; the last one stays.
``Vector.redirects`` are what the web server at ``PUBLIC`` answers, by the path asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PUBLIC = "93.184.215.14"
PUBLIC_V6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
GOOD = {"good.example": [[PUBLIC]]}
Names = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Vector:
    """One way in, and as what it is refused; ``why`` empty = it is allowed, and leads to a public host."""

    name: str
    url: str
    why: str
    names: Names = field(default_factory=lambda: GOOD)
    redirects: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback further on": "127.8.9.10",
    "this host": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "private 172, first": "172.16.0.1",
    "private 172, last": "172.31.255.254",
    "private 192": "192.168.1.1",
    "metadata of clouds": "169.254.169.254",
    "metadata of containers": "169.254.170.2",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Oracle": "192.0.0.192",
    "wire server of Azure": "168.63.129.16",
    "carriers": "100.64.0.1",
    "carriers, last": "100.127.255.255",
    "protocol assignments": "192.0.0.8",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.9",
    "benchmarking": "198.19.255.255",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.1",
    "multicast, last": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "v6 loopback": "::1",
    "v6 unspecified": "::",
    "v6 private": "fc00::1",
    "v6 metadata of AWS": "fd00:ec2::254",
    "v6 metadata of Google": "fd20:ce::254",
    "v6 link-local": "fe80::1",
    "v6 site-local": "fec0::1",
    "v6 multicast": "ff02::1",
    "v6 documentation": "2001:db8::1",
    "v6 documentation, new": "3fff::1",
    "v6 discard": "100::1",
    "v6 benchmarking": "2001:2::1",
    "v6 not given out": "4000::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped public": "::ffff:8.8.8.8",
    "compatible loopback": "::127.0.0.1",
    "translated by SIIT": "::ffff:0:127.0.0.1",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::a9fe:a9fe",
    "NAT64 of private": "64:ff9b::10.0.0.1",
    "NAT64 of a network's own": "64:ff9b:1::a00:1",
    "NAT64 of a network's own, public inside": "64:ff9b:1::808:808",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of metadata": "2002:a9fe:a9fe::1",
    "Teredo of loopback": "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "Teredo with a private server": "2001:0:a00:1:0:0:f7f7:f7f7",
    "ISATAP of private": "2a00:1450:4001:800::5efe:a00:1",
    "ISATAP of public": "2a00:1450:4001:800:200:5efe:808:808",
}


def _url_of(address: str) -> str:
    return f"http://[{address}]/a.png" if ":" in address else f"http://{address}/a.png"


_LITERALS = [Vector(f"literal: {name}", _url_of(a), "address") for name, a in NOT_PUBLIC.items()]
_NAMED = [
    Vector(f"name of: {name}", "http://evil.example/a.png", "address", {"evil.example": [[a]]})
    for name, a in NOT_PUBLIC.items()
]
_LED = [
    Vector(f"redirect to: {name}", "http://good.example/r", "redirect", redirects={"/r": _url_of(a)})
    for name, a in NOT_PUBLIC.items()
]
_NUMBERS = [
    Vector(f"number: {host}", f"http://{host}/a.png", "host")
    for host in (
        "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.1", "0", "0x7f.1",
        "127.0.0.1.", "127.0.0.01", "127.0.0.256", "1.2.3.4.5", "4294967297", "good.example.0x7f", "127.0.0.0x1",
        "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021",
        "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "127.0.0.1%00.good.example", "[127.0.0.1]", "[::1", "::1", "[::1]x",
        "[::1].good.example", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[v1.fe80]", "[]", "[0:0:0:0:0:0:0:0:1]",
    )
]  # fmt: skip
_HOSTS = [
    Vector(f"host: {host!a}", f"http://{host}/a.png", "host")
    for host in (
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "intranet", "printer.local",
        "metadata.google.internal", "metadata.google.internal.", "router.lan", "1.0.0.127.in-addr.arpa", "x.onion",
        "good.example.", "good..example", ".good.example", "-good.example", "good-.example", "go*d.example", "",
        "\u24c1ocalhost", "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54", "good.example\uff0fevil.example",
        "good.example\uff20evil.example",
        "good.example\u2100.evil.example", "a" * 64 + ".example", "a." * 127 + "example", "xn--.example",
    )
]  # fmt: skip
_FORMS = [
    Vector("user before the host", "http://good.example@127.0.0.1/", "user"),
    Vector("user and password", "http://u:p@good.example/", "user"),
    Vector("user that looks like a port", "http://good.example:80@127.0.0.1/", "user"),
    Vector("user in percent codes", "http://good.example%40127.0.0.1/", "host"),
    Vector("fragment before the host", "http://127.0.0.1#@good.example/", "address"),
    Vector("query before the host", "http://127.0.0.1?@good.example/", "address"),
    Vector("backslash before the host", "http://good.example\\@127.0.0.1/", "form"),
    Vector("backslashes for slashes", "http:\\\\127.0.0.1\\", "form"),
    Vector("three slashes", "http:///127.0.0.1/", "host"),
    Vector("no slashes", "http:127.0.0.1/", "form"),
    Vector("no scheme", "//127.0.0.1/", "form"),
    Vector("two ports", "http://good.example:80:80/", "port"),
    Vector("a port of no digits", "http://good.example:/", "port"),
    Vector("a port in wide digits", "http://good.example:\uff18\uff10/", "port"),
    Vector("a port with a sign", "http://good.example:+80/", "port"),
    Vector("port 0", "http://good.example:0/", "port"),
    Vector("port 65616, which wraps to 80", "http://good.example:65616/", "port"),
    Vector("SSH", "http://good.example:22/", "port"),
    Vector("Redis", "http://good.example:6379/", "port"),
    Vector("a line of its own", "http://good.example/\r\nHost: evil.example", "form"),
    Vector("a request of its own", "http://good.example/ HTTP/1.1\r\n\r\nGET /admin", "form"),
    Vector("a null byte", "http://good.example\0.evil.example/", "form"),
    Vector("a tab in the scheme", "ht\ttp://127.0.0.1/", "form"),
    Vector("a space before it", " http://127.0.0.1/", "form"),
    Vector("a sign without width", "http://127.0.0.1\u200b/", "form"),
    Vector("half a character", "http://good.example/\ud800", "form"),
    Vector("longer than any", f"http://good.example/{'a' * 9000}", "form"),
    Vector("file", "file:///etc/passwd", "scheme"),
    Vector("file on a host", "file://good.example/etc/passwd", "scheme"),
    Vector("gopher", "gopher://good.example:6379/_FLUSHALL", "scheme"),
    Vector("ftp", "ftp://good.example/a.png", "scheme"),
    Vector("dict", "dict://127.0.0.1:11211/stat", "scheme"),
    Vector("a socket", "http+unix://%2Fvar%2Frun%2Fdocker.sock/images", "scheme"),
    Vector("a script", "javascript:alert(1)", "form"),
    Vector("loopback in capitals", "HTTP://127.0.0.1/", "address"),
    Vector("http where only https is", "http://good.example/", "scheme", settings={"schemes": ("https",)}),
]
_NAMES = [
    Vector("a name nobody has", "http://none.example/", "address", {}),
    Vector("a name without addresses", "http://none.example/", "address", {"none.example": [[]]}),
    Vector("public and private", "http://two.example/", "address", {"two.example": [[PUBLIC, "10.0.0.1"]]}),
    Vector("private and public", "http://two.example/", "address", {"two.example": [["10.0.0.1", PUBLIC]]}),
    Vector("public v4, private v6", "http://two.example/", "address", {"two.example": [[PUBLIC, "fd00::1"]]}),
    Vector("one of many", "http://many.example/", "address", {"many.example": [[PUBLIC] * 30 + ["127.0.0.1"]]}),
    Vector("an address with a zone", "http://zone.example/", "address", {"zone.example": [["fe80::1%eth0"]]}),
    Vector("a public address with a zone", "http://zone.example/", "address", {"zone.example": [[f"{PUBLIC_V6}%lo"]]}),
    Vector("an answer that is none", "http://odd.example/", "address", {"odd.example": [["127.1"]]}),
    Vector("one's own block", "http://own.example/", "address", {"own.example": [["8.8.8.8"]]},
           settings={"refused_networks": ("8.8.8.0/24",)}),
    Vector("one's own translation", "http://own.example/", "address", {"own.example": [["2a01:4f8:64::a00:1"]]},
           settings={"refused_networks": ("2a01:4f8:64::/96",)}),
    Vector("one's own block through NAT64", "http://own.example/", "address", {"own.example": [["64:ff9b::808:808"]]},
           settings={"refused_networks": ("8.8.8.0/24",)}),
    Vector("not on the list", "http://good.example/", "unlisted", settings={"hosts": ("other.example",)}),
    Vector("below what is on the list", "http://a.good.example/", "unlisted", settings={"hosts": ("good.example",)}),
    Vector("ends like what is on the list", "http://evilgood.example/", "unlisted",
           settings={"hosts": ("good.example", ".good.example")}),
    Vector("a number, with a list", f"http://{PUBLIC}/", "unlisted", settings={"hosts": ("good.example",)}),
]  # fmt: skip
_REDIRECTS = [
    Vector(f"redirect to {target!a}", "http://good.example/r", "redirect", names, {"/r": target}, settings)
    for target, names, settings in (
        ("file:///etc/passwd", GOOD, {}),
        ("gopher://127.0.0.1:6379/_FLUSHALL", GOOD, {}),
        ("javascript:alert(1)", GOOD, {}),
        ("//127.0.0.1/", GOOD, {}),
        ("//localhost/", GOOD, {}),
        ("http:\\\\127.0.0.1/", GOOD, {}),
        ("\\\\127.0.0.1\\a", GOOD, {}),
        ("http://good.example@127.0.0.1/", GOOD, {}),
        ("http://good.example:22/", GOOD, {}),
        ("http://2130706433/", GOOD, {}),
        ("http://inside.example/", {**GOOD, "inside.example": [["10.0.0.1"]]}, {}),
        ("http://none.example/", GOOD, {}),
        ("http://other.example/", {**GOOD, "other.example": [[PUBLIC]]}, {"hosts": ("good.example",)}),
        ("/again", {"good.example": [[PUBLIC], ["127.0.0.1"]]}, {}),
        ("http://good.example/again", {"good.example": [[PUBLIC], ["169.254.169.254"]]}, {}),
        ("/r", GOOD, {}),
        ("/once", GOOD, {"max_redirects": 0}),
    )
]
_CHAINS = [
    Vector("five redirects", "http://good.example/0", "redirect", redirects={f"/{i}": f"/{i + 1}" for i in range(5)}),
    Vector("the third one goes inside", "http://good.example/0", "redirect",
           redirects={"/0": "/1", "/1": "/2", "/2": "http://[::1]/"}),
    Vector("two that go round", "http://good.example/a", "redirect", redirects={"/a": "/b", "/b": "/a"}),
]  # fmt: skip
ALLOWED = [
    Vector("a plain address", "http://good.example/a.png", ""),
    Vector("in capitals, with a port and a fragment", "HTTP://GOOD.Example:80/a.png#x", ""),
    Vector("no path", "http://good.example", ""),
    Vector("a query at once", "http://good.example?a=b", ""),
    Vector("a path in another script", "http://good.example/\u00e4\u732b.png?q=\u00e9", ""),
    Vector("a number that is public", f"http://{PUBLIC}/a.png", ""),
    Vector("a number of v6 that is public", f"http://[{PUBLIC_V6}]/a.png", ""),
    Vector("a number of v6, written long", f"http://[{PUBLIC_V6.upper()}]:80/a.png", ""),
    Vector("a name of v6", "http://six.example/a.png", "", {"six.example": [[PUBLIC_V6, PUBLIC]]}),
    Vector("a name in another script", "http://b\u00fccher.example/a.png", "", {"xn--bcher-kva.example": [[PUBLIC]]}),
    Vector("behind NAT64", "http://nat.example/a.png", "", {"nat.example": [["64:ff9b::5db8:d70e"]]}),
    Vector("changed after the look-up", "http://good.example/a.png", "", {"good.example": [[PUBLIC], ["127.0.0.1"]]}),
    Vector("on the list", "http://good.example/a.png", "", settings={"hosts": ("Good.example",)}),
    Vector("below a name on the list", "http://a.b.good.example/", "", {"a.b.good.example": [[PUBLIC]]},
           settings={"hosts": (".good.example",)}),
    Vector("three redirects", "http://good.example/0", "",
           redirects={"/0": "/1", "/1": "2", "/2": "//good.example:80/3?x=/y"}),
    Vector("a redirect to another host", "http://good.example/0", "",
           {**GOOD, "cdn.example": [[PUBLIC_V6]]}, {"/0": "http://cdn.example/a.png"}),
]  # fmt: skip
REFUSED = [*_LITERALS, *_NAMED, *_LED, *_NUMBERS, *_HOSTS, *_FORMS, *_NAMES, *_REDIRECTS, *_CHAINS]
