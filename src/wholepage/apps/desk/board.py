"""The board: how far a campaign is, what it cost, how good its answers are."""

from __future__ import annotations

import msgspec
from fastapi.responses import Response

from wholepage.apps.desk.board_present import board_view
from wholepage.apps.desk.board_views import BoardPage, BoardView
from wholepage.apps.desk.urls import campaign_url
from wholepage.apps.desk.visits import Guest, Visit


def show_board(visit: Guest, campaign: str) -> Response:
    """The board as a page."""
    view = BoardPage(
        _board(visit, campaign),
        campaign_url(campaign, "board.json"),
        campaign_url(campaign, "pause"),
        campaign_url(campaign, "resume"),
    )
    return visit.page("board.html", f"{view.board.campaign.name}: board", view)


def board_json(visit: Guest, campaign: str) -> Response:
    """The board as JSON."""
    return Response(msgspec.json.encode(_board(visit, campaign)), media_type="application/json")


def _board(visit: Visit, campaign_id: str) -> BoardView:
    desk = visit.desk
    return board_view(
        campaign_id,
        desk.live(campaign_id).read(),
        visit.who,
        names={person.person_id: person.name for person in desk.store.people()},
        broken_pictures=desk.pictures.broken(desk.table(campaign_id).pages),
        at=desk.clock(),
    )
