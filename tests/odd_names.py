"""Names that trip programs up; the rows are those of docs/faults.md."""

MARKS = b" +%#?&=;'\"<>|*\\:~$(){}[]!@^`,"


def names() -> dict[str, list[bytes]]:
    """Row → names."""
    return {
        "E1": [b"marks-%s-%d" % (bytes([mark]), mark) for mark in MARKS]
        + [
            b" lead",
            b"trail ",
            b"a  b",
            b"a+b c",
            b"%2e%2e",
            b"test%46.txt",
            b"100%",
            b"%",
            b"%00",
            b"a%2Fb",
            b"\\..\\x",
        ],
        "E2": [b"control-%s-%d" % (bytes([code]), code) for code in (*range(1, 32), 127)]
        + [b"esc\x1b[31m", b"line\nline", b"end\n", b"\r\n"],
        "E3": ["caf\u00e9".encode(), "cafe\u0301".encode(), "\uac00".encode(), "\u1100\u1161".encode()],
        "E4": [
            "abc\u202egpj.exe".encode(),
            "zero\u200bwidth\ufeff".encode(),
            b"x" * 251 + "\U0001f388".encode(),
            "\u2028".encode(),
            "\ufffe".encode(),
        ],
        "E5": [b"\xff\xfe.txt", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\xaf", b"\xff" * 255],
        "E6": [
            b"-rf",
            b"--help",
            b"CON",
            b"nul",
            b"aux.txt",
            b"$HOME",
            b"`id`",
            b"$(id)",
            b"a;id",
            b"...",
            b"..a",
            b".hidden",
            b"~",
        ],
        "E7": [b"x" * 255, "\u20ac".encode() * 85, b"d" * 255 + b"/" + b"e" * 255 + b"/" + b"f" * 255],
        "E9": [
            b"content.gz",
            b"content.zip",
            b"content.elf",
            b"content.com",
            b"content.gz.txt",
            b"page.html",
            b"x.json",
        ],
    }
