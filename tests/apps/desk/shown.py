"""Views of every page of the desk with values in them, and texts that try to be more than text."""

from __future__ import annotations

from typing import Any

import msgspec

from wholepage.apps.desk import board_views as b
from wholepage.apps.desk import views as v

NO_FORMS = [
    (b"\xff\xfe", "application/x-www-form-urlencoded"),
    (b"csrf=%ff%fe", "application/x-www-form-urlencoded"),
    (b"csrf=a&csrf=b", "application/x-www-form-urlencoded"),
    (b"&".join(b"f%d=1" % i for i in range(100)), "application/x-www-form-urlencoded"),
    (b'{"csrf": "x"}', "application/json"),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
    (b"csrf=x", ""),
]
"""Bodies that are no forms, with what they say they are."""

PAYLOADS = {
    "script": "<script>window.ran = 1</script>",
    "closing": '</textarea></title></style></script></details><img src=x onerror="window.ran = 1">',
    "attribute": '" autofocus onfocus="window.ran = 1" x=\'',
    "address": "javascript:window.ran=1",
    "svg": "<svg onload=window.ran=1><foreignObject><iframe srcdoc='<script>parent.ran=1</script>'></svg>",
    "template": "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}${7*7}#{7*7}",
    "entities": "&lt;script&gt;window.ran=1&lt;/script&gt; &amp;amp; &#x3c;",
    "directions": "\u202egnp.exe\u202c \u2066\u05d0\u05d1\u05d2\u2069 \u0634\u0627\u0631\u0639",
    "control": "before\x0bafter\x1b[31m\u2028\u2029\ufeff",
    "markdown": "[x](javascript:window.ran=1) ![y](x onerror=window.ran=1) **<b>bold</b>**",
    "style": "<style>*{display:none}</style><link rel=stylesheet href=//evil.example/x.css>",
}

CAMPAIGN = v.CampaignView(
    "vases",
    "Vases, winter",
    "open",
    "/campaigns/vases/work",
    "/campaigns/vases/review",
    "/campaigns/vases/board",
    "/campaigns/vases/manage",
    "/campaigns/vases/gold",
    "/campaigns/vases/guideline",
)


def spans(text: str) -> tuple[v.Span, ...]:
    return (v.Span("text", text),)


GUIDELINE = v.GuidelineView(
    3,
    (
        v.Block("heading", 1, (spans("What a good result is"),)),
        v.Block(
            "paragraph",
            0,
            (
                (
                    v.Span("text", "Think of somebody who typed the query. "),
                    v.Span("strong", "Would they stop here?"),
                    v.Span("text", " Colour, kind and number count; taste does not."),
                    v.Span("code", "x < 3"),
                ),
            ),
        ),
        v.Block(
            "list",
            0,
            (
                spans("3: exactly what was asked"),
                spans("2: what was asked, with a small difference"),
                spans("1: related, but they would search on"),
                spans("0: something else, or false"),
            ),
        ),
        v.Block(
            "numbers",
            0,
            (spans("Look at the whole picture."), (v.Span("em", "Read"), v.Span("text", " the answer to its end."))),
        ),
        v.Block("quote", 0, (spans("An answer that sounds sure is not right for that."),)),
        v.Block("code", 0, (spans("vase != bowl"),)),
        v.Block("rule", 0, ()),
        v.Block("heading", 2, (spans("Videos"),)),
        v.Block("paragraph", 0, (spans("Judge what the frames show, not what the title promises."),)),
    ),
)

TEXTS = {
    "text": "Blue ceramic vase with two handles, thrown by hand and glazed in cobalt. 24 cm high, dishwasher safe. "
    "The foot is left unglazed, so that the warm stoneware shows.",
    "answer": "A blue ceramic vase with handles is often called an amphora. Cobalt glazes were first fired in Persia "
    "in the ninth century; most sold today are stoneware, 20 to 30 cm high.",
}
KINDS = ("text", "image", "video", "answer", "image", "image", "image", "text", "image", "answer", "video", "text")


def picture(place: int, number: int = 0, problem: str = "") -> v.PictureView:
    src = f"/pictures/vases/0/{place}/{number}"
    return v.PictureView(src, f"{src}?size=large", f"a vase, {place}.{number}", problem)


def result(place: int, asked: bool = False, side: str = "", anchor: str = "", position: int = 0) -> v.ResultView:
    kind = KINDS[place - 1]
    frames = {"image": 1, "video": 4}.get(kind, 0)
    text = TEXTS.get(kind, "Handles of a cobalt vase, close up" if place % 2 else "")
    if place > 7 and kind == "text":
        text = (
            ("The museum shop sells a set of three bowls. " * 12)
            if place == 8
            else "خزف أزرق بمقبضين، من القرن الثاني عشر"
        )
    pictures = tuple(picture(place, number) for number in range(frames))
    return v.ResultView(anchor or f"r{place}", position or place, kind, text, pictures, asked, side)


def card(kind: str = "grade", **changes: Any) -> v.CardView:
    asked = changes.pop("asked", 5)
    compared = (1, 3) if kind == "preference" else (asked,)
    results = tuple(result(place, place in compared) for place in range(1, len(KINDS) + 1))
    orders = {"A": (1, 2, 3, 4, 5, 6), "B": (1, 3, 2, 5, 4, 6)}
    made = v.CardView(
        campaign=CAMPAIGN,
        kind=kind,
        ticket="signed.ticket",
        query=v.QueryView("q1", "blue ceramic vase with handles"),
        guideline=GUIDELINE,
        results=() if kind == "pages" else results,
        sides=(result(1, True, "left", "side-left"), result(3, True, "right", "side-right"))
        if kind == "preference"
        else (),
        columns=tuple(
            v.ColumnView(
                side,
                letter,
                tuple(
                    result(place, side=side, anchor=f"{letter}{rank}", position=rank)
                    for rank, place in enumerate(orders[letter], start=1)
                ),
            )
            for side, letter in (("left", "A"), ("right", "B"))
        )
        if kind == "pages"
        else (),
        grades=tuple(
            v.GradeView(g, str(g), w)
            for g, w in enumerate(
                (
                    "something else, or false",
                    "related, but they would search on",
                    "what was asked, with a small difference",
                    "exactly what was asked",
                )
            )
        )
        if kind == "grade"
        else (),
        choices=()
        if kind == "grade"
        else tuple(
            v.ChoiceView(value, key, word)
            for value, key, word in (
                ("left", "1", "Left is better"),
                ("same", "2", "About the same"),
                ("right", "3", "Right is better"),
            )
        ),
        reasons=(
            v.ReasonView("broken", "Cannot be shown"),
            v.ReasonView("unclear-query", "The query is unclear"),
            v.ReasonView("language", "Not a language I read"),
            v.ReasonView("offensive", "Offensive"),
            v.ReasonView("other", "Another reason"),
        ),
    )
    return msgspec.structs.replace(made, **changes)


def work(of: v.CardView, undo: bool = True) -> v.WorkView:
    at = "/campaigns/vases/"
    words = v.UndoView("grade 2 for “Blue ceramic vase with two handles”", 17) if undo else None
    return v.WorkView(
        of,
        v.ProgressView(128, 0.416, 372),
        at + "answer",
        at + "skip",
        at + "later",
        at + "escalate",
        at + "undo",
        words,
    )


QUALITY = (
    b.QualityRow("p1", "Ada", 212, 18, 19, 0.75, 0.99, 0.91, 6.2, 0.06),
    b.QualityRow("p2", "Béla", 187, 15, 18, 0.61, 0.94, 0.86, 7.9, 0.11),
    b.QualityRow("p3", "Chioma", 96, 4, 11, 0.15, 0.65, 0.58, 2.1, 0.37, True),
    b.QualityRow("model:judge", "model:judge", 40, 0, 0, None, None, 0.74, None, None),
)


def board(**changes: Any) -> b.BoardPage:
    made = b.BoardView(
        campaign=CAMPAIGN,
        guideline_version=3,
        answers=535,
        share=0.63,
        lists_done=101,
        lists_total=160,
        modalities=(
            b.ModalityRow("text", 31, 40, 160, 0.021),
            b.ModalityRow("image", 26, 40, 171, 0.044),
            b.ModalityRow("video", 20, 40, 118, 0.058),
            b.ModalityRow("answer", 24, 40, 86, None),
        ),
        questions_left=465,
        money_left=61.4,
        purposes=(
            b.CountRow("work", 412, 3120, 31.2),
            b.CountRow("gold", 48, 310, 3.1),
            b.CountRow("audit", 60, 420, 4.2),
            b.CountRow("adjudication", 15, 240, 2.4),
        ),
        by_modality=(
            b.CountRow("text", 160, 1400, 14.0),
            b.CountRow("image", 171, 900, 9.0),
            b.CountRow("video", 118, 1100, 11.0),
            b.CountRow("answer", 86, 690, 6.9),
        ),
        by_person=(
            b.CountRow("Ada", 212, 1800, 18.0),
            b.CountRow("Béla", 187, 1700, 17.0),
            b.CountRow("Chioma", 96, 590, 5.9),
            b.CountRow("model:judge", 40, None, 0.4),
        ),
        seconds=4090,
        money=40.9,
        agreement=(
            b.AgreementRow("all", 96, 0.74, 0.66, 0.81),
            b.AgreementRow("text", 31, 0.83, 0.70, 0.92),
            b.AgreementRow("image", 28, 0.78, 0.62, 0.89),
            b.AgreementRow("video", 20, 0.55, 0.31, 0.74),
            b.AgreementRow("answer", 1),
        ),
        pairs=(
            b.AgreementRow("image / text", 22, 0.71, 0.5, 0.86),
            b.AgreementRow("text / video", 14, 0.36, 0.02, 0.64),
            b.AgreementRow("answer / text", 18, 0.12, -0.2, 0.44),
            b.AgreementRow("image / video", 16, 0.69, 0.4, 0.88),
        ),
        annotators=QUALITY,
        saving=b.SavingRow(412, 1120, 0.632, 708, 0.038, 60, 3, 0.124),
        waiting=7,
        broken_pictures=2,
        at="2026-11-21T12:30:00.250Z",
    )
    at = "/campaigns/vases/"
    return b.BoardPage(msgspec.structs.replace(made, **changes), at + "board.json", at + "pause", at + "resume")


def manage(campaign: v.CampaignView = CAMPAIGN) -> b.ManageView:
    at = "/campaigns/vases/"
    return b.ManageView(
        campaign=campaign,
        settings=(b.Fact("engine", "hmm"), b.Fact("levels", "4"), b.Fact("overlap", "1"), b.Fact("tau", "0.05")),
        guideline=GUIDELINE,
        guideline_text="# What a good result is\n\nThink of who typed the query.\n\n- 3: exactly what was asked\n",
        budget_questions=1000,
        budget_money=None,
        gold=(
            b.GoldRow('["grade","q1","r1"]', "grade", "blue vase", "Blue ceramic vase", "3", at + "gold/0"),
            b.GoldRow('["preference","q1","a","b"]', "preference", "blue vase", "two results", "left", ""),
        ),
        exports=(
            b.ExportView("qrels.txt", "grades as TREC qrels", at + "export/qrels"),
            b.ExportView("events.jsonl", "the whole log", at + "export/events"),
        ),
        annotators=QUALITY,
        guideline_url=at + "guideline",
        budget_url=at + "budget",
        gold_post_url=at + "gold",
        pause_url=at + "pause",
        resume_url=at + "resume",
        close_url=at + "close",
    )


def decide(kind: str) -> v.DecideView:
    said = (
        v.SaidView("annotator 1", "grade 3" if kind == "grade" else "left is better", "", 2),
        v.SaidView(
            "annotator 2", "grade 0" if kind == "grade" else "right is better", "The handles are painted on.", 3
        ),
        v.SaidView("annotator 3", "asked for a reviewer"),
    )
    at = "/campaigns/vases/review"
    return v.DecideView(card(kind), "Two annotators are 3 grades apart", said, at + "/decide", at, 7)


PERSON = v.PersonView("Ada", "annotator", True, False, False, False)
MANAGER = v.PersonView("Mira", "manager", False, False, True, False)
REVIEWER = v.PersonView("Rosa", "reviewer", True, True, False, False)

PEOPLE = b.PeopleView(
    (
        b.PersonRow("p0", "Mira", "manager", True, True),
        b.PersonRow("p1", "Ada", "annotator", True, False, "/people/p1/role", "/people/p1/deactivate"),
        b.PersonRow("p9", "Old", "reviewer", False, False),
    ),
    ("annotator", "reviewer"),
    ("annotator", "reviewer", "manager"),
    "/people/invite",
)

AT_REST = {
    reason: (
        "rest.html",
        PERSON,
        v.RestView(CAMPAIGN, reason, v.ProgressView(3, 1.0), "/undo", v.UndoView("grade 2", 3)),
    )
    for reason in ("nothing", "budget", "paused", "stopped", "closed")
}
_NO_ONE = msgspec.structs.replace(CAMPAIGN, name="Empty", status="closed", work_url="")
_PAUSED = msgspec.structs.replace(CAMPAIGN, status="paused")
_WORDLESS = tuple(v.GradeView(g, str(g), {0: "worst", 4: "best"}.get(g, "")) for g in range(5))
SHOWN: dict[str, tuple[str, v.PersonView | None, Any]] = {
    "grade": ("grade.html", PERSON, work(card())),
    "grade-text": ("grade.html", PERSON, work(card(asked=1), undo=False)),
    "grade-video": ("grade.html", PERSON, work(card(asked=3))),
    "grade-answer": ("grade.html", PERSON, work(card(asked=10, grades=_WORDLESS))),
    "grade-broken": (
        "grade.html",
        PERSON,
        work(
            card(
                broken=True,
                results=(msgspec.structs.replace(result(5, True), pictures=(picture(5, 0, "the file is missing"),)),),
            )
        ),
    ),
    "grade-asked-with-picture": (
        "grade.html",
        PERSON,
        work(card(query=v.QueryView("q", "", picture(99)), guideline=msgspec.structs.replace(GUIDELINE, changed=True))),
    ),
    "grade-empty-page": ("grade.html", PERSON, work(card(results=()))),
    "preference": ("preference.html", PERSON, work(card("preference"))),
    "pages": ("pages.html", PERSON, work(card("pages"))),
    **{f"rest-{reason}": shown for reason, shown in AT_REST.items()},
    "sign-in": ("sign_in.html", None, v.SignInView()),
    "sign-in-again": ("sign_in.html", None, v.SignInView("ada", "/people", "Name or password is wrong.")),
    "invite": ("invite.html", None, v.InviteView("/invite/x")),
    "invite-again": ("invite.html", None, v.InviteView("/invite/x", "ada", "The passwords differ.")),
    "home": ("home.html", PERSON, v.HomeView((v.HomeRow(CAMPAIGN, 128, 0.41, 7), v.HomeRow(_NO_ONE, 0)))),
    "home-empty": ("home.html", PERSON, v.HomeView(())),
    "guideline": ("guideline.html", PERSON, v.GuidelinePage(CAMPAIGN, GUIDELINE)),
    "review": (
        "review.html",
        REVIEWER,
        v.ReviewView(
            CAMPAIGN,
            (
                v.WaitingRow("grade", "blue vase", "Two annotators are 3 grades apart", 2, "/r/1"),
                v.WaitingRow("pages", "", "Skipped by two", 0, "/r/2"),
            ),
        ),
    ),
    "review-empty": ("review.html", REVIEWER, v.ReviewView(CAMPAIGN, ())),
    **{f"decide-{kind}": ("decide.html", REVIEWER, decide(kind)) for kind in ("grade", "preference", "pages")},
    "board": ("board.html", MANAGER, board()),
    "board-at-first": (
        "board.html",
        MANAGER,
        board(
            campaign=_PAUSED,
            answers=0,
            share=0.0,
            questions_left=None,
            money_left=None,
            purposes=(),
            by_modality=(),
            by_person=(),
            agreement=(),
            pairs=(),
            annotators=(),
            waiting=0,
            broken_pictures=0,
            saving=b.SavingRow(0, 0, 0.0, 0),
        ),
    ),
    "board-closed": ("board.html", MANAGER, board(campaign=_NO_ONE)),
    "manage": ("manage.html", MANAGER, manage()),
    "manage-closed": ("manage.html", MANAGER, msgspec.structs.replace(manage(_NO_ONE), gold=(), annotators=())),
    "gold-list": (
        "gold_list.html",
        MANAGER,
        b.GoldListView(
            CAMPAIGN,
            (b.GoldPageRow("blue vase", 12, 2, "/gold/0"), b.GoldPageRow("", 1, 0, "/gold/1")),
            "vase",
            40,
            1,
            "",
            "/gold?first=3",
        ),
    ),
    "gold-list-empty": ("gold_list.html", MANAGER, b.GoldListView(CAMPAIGN, (), "zebra", 0, 1)),
    "gold-page": (
        "gold_page.html",
        MANAGER,
        b.GoldPageView(
            CAMPAIGN,
            v.QueryView("q", "blue vase"),
            (
                b.GoldTask(
                    "t1", "grade", (result(5, True),), tuple(v.ReasonView(str(g), str(g)) for g in range(4)), "3"
                ),
                b.GoldTask(
                    "t2",
                    "preference",
                    (result(1, True, "left"), result(3, True, "right")),
                    (v.ReasonView("left", "left"), v.ReasonView("same", "same"), v.ReasonView("right", "right")),
                ),
                b.GoldTask(
                    "t3",
                    "pages",
                    (),
                    (v.ReasonView("left", "A"), v.ReasonView("same", "same"), v.ReasonView("right", "B")),
                    "left",
                    card("pages").columns,
                ),
            ),
            "/gold",
            "/campaigns/vases/gold",
            4,
        ),
    ),
    "people": ("people.html", MANAGER, PEOPLE),
    "people-alone": ("people.html", MANAGER, b.PeopleView(PEOPLE.people[:1], (), (), "")),
    "invited": (
        "invited.html",
        MANAGER,
        b.InvitedView("annotator", "http://127.0.0.1:8000/invite/abc", "2026-11-28T12:00:00Z"),
    ),
    "problem": ("problem.html", None, v.ProblemView(404, "Not here", "There is no such page.")),
}
