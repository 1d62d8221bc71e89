"""Team draft that keeps blocks together: pictures that a ranker shows side by side stay side by side.

A vertical block is a maximal run of one modality in a ranking. Ordinary team draft picks its results one by one and
scatters them among the web results, so users see a page that no ranker would show. Here a pick that is part of a block
opens the block, and the draft goes on inside it until all of it is shown. Where blocks of two rankers share a result
they are one block of the merged page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wholepage.evaluation.online.interleaving.shown import Outcome, Shown, check_rankings, team_credit
from wholepage.evaluation.online.interleaving.team_draft import turns
from wholepage.evaluation.page.blocks import blocks_of
from wholepage.pages.errors import InputError
from wholepage.pages.model import Modality, Page, Ranking


class BlockAwareTeamDraft:
    """Team draft in which no vertical block of any ranker is split.

    Who picks goes round as in team draft, inside blocks too, so that in every place each ranker is as likely to have
    brought what is there, and a block's position and the order in it are both contested.

    Args:
        loose: modalities whose results stand each by itself (the web results of a page); all others form blocks.
    Source: Chuklin, Schuth, Hofmann, Serdyukov, de Rijke 2013, Evaluating aggregated search using interleaving; the
        merging of blocks that overlap is ours.
    """

    name = "block-aware-team-draft"

    def __init__(self, *, loose: Iterable[Modality] = (Modality.TEXT,)) -> None:
        self.loose = frozenset(loose)

    def interleave(self, rankings: Sequence[Ranking], *, rng: np.random.Generator, page: Page | None = None) -> Shown:
        """Merge two rankings or more of one page.

        Raises:
            InputError: no page, or rankings that cannot be interleaved.
            DecodingError: a ranking is not a permutation of the page.
        """
        if page is None:
            raise InputError("page: got none; allowed: the page that is ranked; its modalities say what is a block")
        known = check_rankings(rankings, page)
        block_of = merged_blocks(known, page, loose=self.loose)
        order, teams = _draft([ranking.result_ids for ranking in known], block_of, rng)
        numbers: dict[int, int] = {}
        blocks = tuple(numbers.setdefault(id(block_of[result]), len(numbers)) for result in order)
        return Shown(page.query_id, tuple(order), known, tuple(teams), blocks)

    def credit(self, shown: Shown, clicks: Iterable[int]) -> Outcome:
        """One for each click on what a ranker brought.

        Raises:
            InputError: a click that is not on the page, or a page of another method.
        """
        return team_credit(shown, clicks)


def merged_blocks(
    rankings: Sequence[Ranking], page: Page, *, loose: Iterable[Modality] = (Modality.TEXT,)
) -> dict[str, list[str]]:
    """For each result the results of its merged block: all that it shares a block with in some ranking, and so on.

    Raises:
        DecodingError: a ranking is not a permutation of the page.
    """
    block_of = {result: [result] for result in page.result_ids}
    for block in (block for ranking in rankings for block in _vertical_blocks(ranking, page, loose)):
        for result in block[1:]:
            one, other = block_of[block[0]], block_of[result]
            if one is not other:
                one.extend(other)
                for moved in other:
                    block_of[moved] = one
    return block_of


def split_blocks(shown: Shown, page: Page, *, loose: Iterable[Modality] = (Modality.TEXT,)) -> tuple[int, int]:
    """How many of the rankers' vertical blocks of two results or more are split on the shown page, and of how many.

    A block is split when something of another modality stands between its results.

    Raises:
        DecodingError: a ranking or the shown order is not a permutation of the page.
    """
    merged = Ranking(shown.query_id, shown.order, by="shown")
    place_of = dict(zip(shown.order, blocks_of(merged, page), strict=True))
    blocks = [block for ranking in shown.rankings for block in _vertical_blocks(ranking, page, loose) if len(block) > 1]
    return sum(len({place_of[result] for result in block}) > 1 for block in blocks), len(blocks)


def _draft(
    lists: Sequence[Sequence[str]], block_of: dict[str, list[str]], rng: np.random.Generator
) -> tuple[list[str], list[int]]:
    order: list[str] = []
    teams: list[int] = []
    left = set(lists[0])
    opened: set[str] = set()
    for who in (who for turn in turns(len(left), len(lists), rng) for who in turn):
        if not left:
            break
        allowed = opened or left
        pick = next(result for result in lists[who] if result in allowed)
        if not opened:
            opened = set(block_of[pick])
        opened.discard(pick)
        left.discard(pick)
        order.append(pick)
        teams.append(who)
    return order, teams


def _vertical_blocks(ranking: Ranking, page: Page, loose: Iterable[Modality]) -> list[list[str]]:
    """The results of each block, those of loose modalities left out."""
    alone = {result.result_id for result in page.results if result.modality in loose}
    blocks: dict[int, list[str]] = {}
    for result, number in zip(ranking.result_ids, blocks_of(ranking, page), strict=True):
        if result not in alone:
            blocks.setdefault(number, []).append(result)
    return list(blocks.values())
