"""The parts of the engine that need no process: lines, batches, pace, cache, frames, errors that travel."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.places import NotFound
from wholepage.apps.serving import frames
from wholepage.apps.serving.batches import choose
from wholepage.apps.serving.cache import ResultCache
from wholepage.apps.serving.calls import Outcome, Told
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.failures import Failure, RankerFailed, error_of, failure_of
from wholepage.apps.serving.flights import (
    LEAST_PICTURE,
    MOST_PICTURE,
    Flight,
    cost_of,
    encoded,
    is_lasting,
    key_of,
)
from wholepage.apps.serving.pace import Pace
from wholepage.apps.serving.poison import Poison
from wholepage.apps.serving.waiting import WaitingLines
from wholepage.pages import errors
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result


def flight(number: int, cost: int = 10, *, model: str = "m", deadline: float = 100.0, deaths: int = 0) -> Flight:
    key = number.to_bytes(4, "big")
    return Flight(key, model, b"", 1, cost, deadline, float(number), True, deaths=deaths)


def paced(seconds_per_token: float) -> Pace:
    pace = Pace()
    pace.begin("m", seconds_per_token)
    return pace


# ---------------------------------------------------------------- batches


lines_of = st.lists(
    st.tuples(st.integers(1, 400), st.floats(-1, 30), st.sampled_from([0, 0, 0, 1])), min_size=1, max_size=40
)


@given(
    lines=lines_of,
    pages=st.integers(1, 8),
    most=st.integers(1, 600),
    workers=st.integers(1, 4),
    pace_s=st.sampled_from([0.0, 1e-3, 0.1]),
    alone=st.booleans(),
)
def test_a_batch_is_the_head_of_the_line_within_limits(
    lines: list[tuple[int, float, int]], pages: int, most: int, workers: int, pace_s: float, alone: bool
) -> None:
    line = [flight(i, cost, deadline=deadline, deaths=deaths) for i, (cost, deadline, deaths) in enumerate(lines)]
    settings = EngineSettings(max_batch_pages=pages, max_batch_cost=most, batch_target_s=0.5)
    pace = paced(pace_s)
    choice = choose(line, settings, pace, 0.0, workers=workers, alone=alone)
    taken = {id(one) for one in [*choice.go, *choice.hopeless]}
    seen = [one for one in line if id(one) in taken]
    assert seen == line[: len(seen)], "nobody in between was passed over"
    assert len(choice.go) + len(choice.hopeless) == len(seen)
    assert [one.arrived for one in choice.go] == sorted(one.arrived for one in choice.go)
    assert len(choice.go) <= pages
    cost = sum(one.cost for one in choice.go)
    if len(choice.go) > 1:
        share = -(-sum(one.cost for one in line) // workers)
        assert cost <= min(most, share)
        assert pace.seconds("m", cost) <= 0.5
        assert not any(one.deaths for one in choice.go), "who is suspected goes alone"
    assert all(one.deadline > 0 for one in choice.go), "nobody whose time is over is computed"
    dropped = [one for one in choice.hopeless if one.deadline > 0]
    assert all(0.5 * pace.seconds("m", one.cost) > one.deadline for one in dropped)
    if not choice.go:
        assert choice.hopeless == line, "either somebody goes, or nobody can"
        assert not alone or line[-1].deadline <= 0, "an idle worker tries the last one that has time left"


def test_what_can_be_done_side_by_side_is_not_put_into_one_batch() -> None:
    line = [flight(i) for i in range(4)]
    assert len(choose(line, EngineSettings(), Pace(), 0.0, workers=2, alone=True).go) == 2
    assert len(choose(line, EngineSettings(), Pace(), 0.0, workers=1, alone=True).go) == 4


def test_a_batch_takes_no_longer_than_it_should_unless_one_page_does() -> None:
    line = [flight(i, 100) for i in range(4)]
    assert len(choose(line, EngineSettings(batch_target_s=0.25), paced(1e-3), 0.0, workers=1, alone=True).go) == 2
    assert len(choose(line, EngineSettings(batch_target_s=0.05), paced(1e-3), 0.0, workers=1, alone=True).go) == 1


# ---------------------------------------------------------------- lines


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=30), st.randoms())
def test_lines_count_what_they_hold_and_keep_their_order(steps: list[tuple[str, int, bool]], random: object) -> None:
    lines, inside = WaitingLines(), []
    for number, (model, cost, leaves) in enumerate(steps):
        if leaves and inside:
            gone = random.choice(inside)
            lines.leave(gone)
            inside.remove(gone)
            assert not gone.waits
        else:
            inside.append(flight(number, cost, model=model))
            lines.join(inside[-1])
        assert len(lines) == len(inside)
        assert lines.cost == sum(one.cost for one in inside) == sum(cost for _, cost in lines.costs())
        line = lines.next_line()
        if inside:
            assert line == [one for one in inside if one.model == inside[0].model], "the line of who came first"
        else:
            assert line == []


def test_who_lost_a_turn_stands_at_the_head() -> None:
    lines = WaitingLines()
    for number in (3, 4):
        lines.join(flight(number))
    for number in (2, 1):
        lines.rejoin(flight(number))
    assert [one.arrived for one in lines.next_line()] == [1, 2, 3, 4]


# ---------------------------------------------------------------- pace


def test_pace_is_seconds_a_token_and_follows_a_change() -> None:
    pace = Pace()
    assert pace.seconds("m", 100) == 0.0
    pace.begin("m", 0.5)
    assert pace.seconds("m", 100) == pytest.approx(50)
    pace.begin("m", 9.0)
    assert pace.seconds("m", 100) == pytest.approx(50), "what is known is not begun again"
    for _ in range(60):
        pace.learn("m", 1000, 1.0)
    assert pace.seconds("m", 1000) == pytest.approx(1.0, rel=0.03)
    for _ in range(60):
        pace.learn("m", 1000, 3.0)
    assert pace.seconds("m", 1000) == pytest.approx(3.0, rel=0.03)
    assert pace.seconds("other", 1000) == 0.0


# ---------------------------------------------------------------- cost and key


def test_cost_counts_characters_and_pictures() -> None:
    query = Query("q", "12345678")
    texts = tuple(Result(str(i), Modality.TEXT, "x" * 40) for i in range(3))
    assert cost_of(Page(query, texts)) == 3 * (2 + 10 + 4)
    assert cost_of(Page(query, texts), reads=5) == 15
    assert cost_of(Page(query)) == 1
    small, large = ImageRef("data:image/png;base64,AAAA"), ImageRef("data:image/png;base64," + "A" * 10_000_000)
    shown = (Result("a", Modality.IMAGE, images=(small,)), Result("b", Modality.VIDEO, images=(large, small)))
    assert cost_of(Page(query, shown)) == 2 * (2 + 4) + 2 * LEAST_PICTURE + MOST_PICTURE


def test_the_key_is_of_model_and_content() -> None:
    def key(model: str = "m", text: str = "t", **features: float) -> bytes:
        page = Page(Query("q", "x"), (Result("r", Modality.TEXT, text, features=features),))
        return key_of(model, encoded(page))

    assert key() == key()
    assert key(a=1, b=2) == key(b=2, a=1), "features have no order"
    assert len({key(), key("n"), key(text="u"), key(a=1)}) == 4


def test_pages_with_pictures_elsewhere_are_not_kept() -> None:
    def page(uri: str, sha256: str | None = None) -> Page:
        return Page(Query("q"), (Result("r", Modality.IMAGE, images=(ImageRef(uri, sha256),)),))

    assert is_lasting(page("data:image/png;base64,AAAA"))
    assert is_lasting(page("/tmp/x.png", "0" * 64))
    assert not is_lasting(page("/tmp/x.png"))
    assert not is_lasting(Page(Query("q", image=ImageRef("x.png"))))


# ---------------------------------------------------------------- cache and poison


def outcome(number: int, size: int = 3) -> Outcome:
    return Outcome(tuple(range(size)), tuple(float(number) for _ in range(size)), "odd")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 40), st.booleans()), max_size=60), st.integers(0, 3000))
def test_the_cache_stays_within_its_bytes_and_never_lies(steps: list[tuple[int, int, bool]], room: int) -> None:
    cache, model = ResultCache(room), {}
    for key, size, asks in steps:
        name = bytes([key])
        if asks:
            found = cache.find(name)
            assert found is None or found == model[key]
            continue
        cache.keep(name, outcome(key, size))
        if name in cache._kept and key not in model:
            model[key] = outcome(key, size)
        model = {k: v for k, v in model.items() if bytes([k]) in cache._kept}
        assert cache.bytes <= room
        assert cache.bytes == sum(len(raw) + 200 for raw in cache._kept.values())


def test_the_least_recently_used_goes_first() -> None:
    size = len(msgspec.msgpack.encode(outcome(0))) + 200
    cache = ResultCache(2 * size)
    cache.keep(b"a", outcome(1))
    cache.keep(b"b", outcome(2))
    assert cache.find(b"a") == outcome(1)
    cache.keep(b"c", outcome(3))
    assert [cache.find(key) for key in (b"a", b"b", b"c")] == [outcome(1), None, outcome(3)]
    assert len(cache) == 2
    cache.clear()
    assert (len(cache), cache.bytes, cache.find(b"a")) == (0, 0, None)


def test_poison_is_held_for_a_while_and_not_without_end() -> None:
    poison = Poison(5.0)
    poison.hold(b"a", 0.0)
    assert poison.holds(b"a", 4.9)
    assert not poison.holds(b"a", 5.0)
    assert not poison.holds(b"a", 1.0), "forgotten once it is over"
    for number in range(2000):
        poison.hold(number.to_bytes(2, "big"), 0.0)
    assert not poison.holds((0).to_bytes(2, "big"), 1.0)
    assert poison.holds((1999).to_bytes(2, "big"), 1.0)


# ---------------------------------------------------------------- frames


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    return ours, theirs


def test_frames_arrive_whole_and_in_order_whatever_their_size() -> None:
    item = frames.Item(msgspec.Raw(encoded(Page(Query("q", "x" * 300_000)))), 12.5)
    said = [frames.Work(7, "m", (item, item)), frames.Stop()]
    ours, theirs = pair()
    with ours, theirs:

        async def talk() -> list[object]:
            reader, writer = await asyncio.open_connection(sock=ours)
            for message in said:
                writer.write(frames.framed(message))
            loop = asyncio.get_running_loop()
            heard = [await loop.run_in_executor(None, frames.receive, theirs, frames.TO_WORKER) for _ in said]
            done = frames.Done(7, (frames.Answered(outcome(1)), frames.Late()), 0.5)
            theirs.settimeout(None)
            theirs.sendall(frames.framed(done) + frames.framed(frames.Beat()))
            back = [await frames.read_frame(reader, frames.TO_FRONT) for _ in range(2)]
            theirs.close()
            back.append(await frames.read_frame(reader, frames.TO_FRONT))
            writer.close()
            return [*heard, *back]

        work, stop, done, beat, end = asyncio.run(talk())
    assert (work.number, [bytes(i.page) for i in work.items], work.items[0].deadline) == (
        7,
        [bytes(item.page)] * 2,
        12.5,
    )
    assert isinstance(stop, frames.Stop)
    assert done == frames.Done(7, (frames.Answered(outcome(1)), frames.Late()), 0.5)
    assert beat == frames.Beat()
    assert end is None


@pytest.mark.parametrize(
    "raw",
    [
        b"\x01\x00",
        b"\x05\x00\x00\x00abc",
        b"\xff\xff\xff\xff",
        frames.framed(frames.Stop())[:-1],
        len(b"\xc1").to_bytes(4, "little") + b"\xc1",
        (5).to_bytes(4, "little") + msgspec.msgpack.encode("stop"),
    ],
)
def test_what_is_no_frame_is_refused_on_both_sides(raw: bytes) -> None:
    ours, theirs = pair()
    with theirs:
        with ours:
            ours.sendall(raw)
        with pytest.raises(errors.WorkerLost):
            frames.receive(theirs, frames.TO_WORKER)

    async def read() -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        return await frames.read_frame(reader, frames.TO_FRONT)

    with pytest.raises(errors.WorkerLost):
        asyncio.run(read())


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_else_than_be_read_or_refused(raw: bytes) -> None:
    async def read() -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(len(raw).to_bytes(4, "little") + raw)
        reader.feed_eof()
        return await frames.read_frame(reader, frames.TO_FRONT)

    with suppress(errors.WorkerLost):
        assert isinstance(asyncio.run(read()), frames.Hello | frames.Unfit | frames.Beat | frames.Done)


# ---------------------------------------------------------------- errors that travel


@pytest.mark.parametrize(
    "error",
    [
        errors.ImageError("data:image/png;base64," + "A" * 500, "too-large", "got much", at="results[1] 'r1'"),
        errors.EndpointError("model: got no answer", reason="timeout"),
        errors.NoRanker("page: got video"),
        errors.InputError("x"),
        errors.PageError("x"),
        errors.DecodingError("x"),
        errors.WeightsError("x"),
        errors.MissingExtra("x"),
        NotFound("x"),
        RankerFailed("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_they_were(error: errors.WholepageError) -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(failure_of(error)), type=Failure)
    back = error_of(sent)
    assert type(back) is type(error)
    assert str(back) == str(error)
    for name in ("uri", "reason", "at"):
        assert getattr(back, name, None) == getattr(error, name, None)


def test_a_fault_tells_its_class_and_nothing_of_the_machine() -> None:
    back = error_of(failure_of(KeyError("/home/somebody/secret")))
    assert type(back) is RankerFailed
    assert "KeyError" in str(back)
    assert "secret" not in str(back)


def test_an_unknown_class_becomes_the_nearest_known_one() -> None:
    class Special(errors.NoRanker):
        """Of some ranker alone."""

    assert type(error_of(failure_of(Special("x")))) is errors.NoRanker
    assert type(error_of(Failure("Gone", "x"))) is RankerFailed
    assert type(error_of(failure_of(errors.RecordError("f", 3, "a", "b", "c", "d")))) is errors.InputError


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"max_wait_s": float("nan")}, {"silent_s": 0.5}, {"spares": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(errors.InputError, match="serving engine"):
        EngineSettings(**wrong)


def test_threads_share_the_cores() -> None:
    assert EngineSettings(workers=10_000).threads_each == 1
    assert EngineSettings(threads=3).threads_each == 3
    assert Told().cached is False
