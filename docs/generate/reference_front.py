"""The first page of the reference: what there is to look up, and how much of it."""

from __future__ import annotations

from reference_commands import commands
from reference_measures import computed_by_ir_measures

from wholepage.evaluation.page.registry import page_measures

FRONT = "reference/index.md"


def front_page() -> dict[str, str]:
    """The one page, by its path below ``docs``."""
    parts = [
        "# Reference",
        "Written from the source when this site is built, so it cannot say anything else than the program does.",
        f"- [Command line](commands/index.md): {len(commands())} commands, every option of each, exit codes, "
        f"environment.\n"
        "- [Python](api/index.md): every public name, room by room, with its signature and what it says of itself.\n"
        f"- [Measures](measures.md): {len(page_measures())} measures on pages and {len(computed_by_ir_measures())} on "
        "lists: what each says, its options, its bounds, and its value on one example page, computed.",
    ]
    return {FRONT: "\n\n".join(parts) + "\n"}
