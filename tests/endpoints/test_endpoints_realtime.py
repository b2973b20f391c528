"""The Realtime endpoint at its port, against a peer over memory streams, on a clock that jumps."""

import base64
import logging

import pytest
import trio
import trio.testing
from attrs import evolve
from fake_peer import CONVERSATION, MS, SETTINGS, FakePeer, Reports, TestUtterance, utterance

from kioskd.config.schema import Dialect
from kioskd.dialogue.events import AnswerAudio, AnswerEnded, Ending, Link, LinkChanged, Transcript
from kioskd.endpoints.connection import CANCEL_TIMEOUT_S
from kioskd.endpoints.policy import Failure, Kind
from kioskd.endpoints.realtime import RealtimeEndpoint

KEY = "token.of.a.broker"  # nothing in its shape tells that it is one
ANSWER = bytes(range(256)) * 75  # 400 ms
LOST = Failure(Kind.CONNECT, "127.0.0.1:1: no connection (Connection refused)")


@pytest.fixture
async def start(nursery):
    """Run an endpoint against a peer; returns the endpoint and its reports."""

    def start(peer, settings=SETTINGS, read_key=lambda: KEY, conversation=CONVERSATION):
        endpoint = RealtimeEndpoint(settings, conversation, read_key, dial=peer.dial, jitter=lambda: 1.0)
        reports = Reports()
        nursery.start_soon(endpoint.run, reports)
        return endpoint, reports

    return start


def links(reports):
    return [event.link for event in reports.of(LinkChanged)]


async def ask(endpoint, turn, pcm=bytes(300 * MS)):
    endpoint.begin(utterance(turn, pcm))
    endpoint.ask(turn)


async def sound(connection, response_id="resp_1", ms=100):
    delta = base64.b64encode(bytes(ms * MS)).decode()
    await connection.send("response.output_audio.delta", response_id=response_id, item_id="item_2", delta=delta)


# Connecting


async def test_it_connects_sets_up_and_answers(autojump_clock, start):
    peer = FakePeer(answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    assert links(reports) == [Link.CONNECTING, Link.UP]
    await ask(endpoint, 1, b"\1\2" * 7200)
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert reports.sound(1) == ANSWER
    (connection,) = peer.connections
    assert connection.questions == [b"\1\2" * 7200]
    assert connection.headers["authorization"] == f"Bearer {KEY}"
    assert connection.path == "ws://127.0.0.1/v1/realtime?model=gpt-realtime"
    assert "openai-beta" not in connection.headers


async def test_an_answer_that_is_well_ahead_is_passed_on_in_few_pieces(autojump_clock, start):
    answer = bytes(range(1, 251)) * (5000 * MS // 250)
    endpoint, reports = start(FakePeer(answer=lambda _: answer))
    await reports.until(LinkChanged, link=Link.UP)
    await ask(endpoint, 1)
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert reports.sound(1) == answer
    pieces = [event.duration_ms for event in reports.of(AnswerAudio)]
    assert pieces[:7] == [100] * 7, "its first sound counts"
    assert len(pieces[7:]) < 10, "of the 43 that came behind it"


async def test_the_beta_header_is_sent_only_where_it_is_wanted(autojump_clock, start):
    peer = FakePeer()
    start(peer, evolve(SETTINGS, dialect=Dialect.BETA))
    assert (await peer.connection()).headers["openai-beta"] == "realtime=v1"


async def test_silence_after_the_upgrade_has_a_deadline(autojump_clock, start):
    peer = FakePeer(greets=False)
    _, reports = start(peer)
    down = await reports.until(LinkChanged, link=Link.DOWN)
    assert "session.created" in down.cause
    peer.greets = True
    await reports.until(LinkChanged, link=Link.UP)


async def test_settings_that_are_never_acknowledged_hold_after_a_while(autojump_clock, start, caplog):
    peer = FakePeer(sets_up=False, answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert trio.current_time() >= SETTINGS.setup_timeout_s
    assert [record for record in caplog.records if "never acknowledged" in record.message]
    assert len(peer.connections) == 1


async def test_attempts_back_off_and_a_mere_connect_does_not_shorten_them(autojump_clock, start):
    peer = FakePeer(refusals=[LOST] * 8)
    _, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    assert trio.current_time() >= 0.25 + 0.5 + 5 * 1 + 2
    at = trio.current_time()
    await (await peer.connection()).drop()
    await peer.connection(2)
    assert trio.current_time() - at >= 4


async def test_an_answer_shortens_them(autojump_clock, start):
    peer = FakePeer(refusals=[LOST] * 4, answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await ask(endpoint, 1)
    await reports.until(AnswerEnded)
    at = trio.current_time()
    await (await peer.connection()).drop()
    await peer.connection(2)
    assert trio.current_time() - at < 1


async def test_no_key_is_the_owners_to_mend_and_a_replaced_one_counts_at_once(autojump_clock, start):
    keys = ["old"]

    def read_key():
        if not keys:
            raise ValueError("/etc/kioskd/key: there is no key; write one into it")
        return keys[0]

    peer = FakePeer()
    keys.clear()
    _, reports = start(peer, read_key=read_key)
    refused = await reports.until(LinkChanged, link=Link.REFUSED)
    assert "/etc/kioskd/key: there is no key" in refused.cause
    assert peer.dials == 0
    keys.append("new")
    assert (await peer.connection()).headers["authorization"] == "Bearer new"


async def test_a_refused_key_is_probed_seldom_but_a_new_one_at_once(autojump_clock, start):
    keys = ["bad"]
    peer = FakePeer(refusals=[Failure(Kind.UPGRADE, "refuses with HTTP 401", status=401)] * 2)
    _, reports = start(peer, read_key=lambda: keys[0])
    await reports.until(LinkChanged, link=Link.REFUSED)
    with trio.move_on_after(500):
        await reports.until(LinkChanged, link=Link.UP)
    assert peer.dials == 1
    keys[0] = "good"
    with trio.fail_after(30):
        await reports.until(LinkChanged, link=Link.REFUSED)
        await peer_dials(peer, 2)
    await reports.until(LinkChanged, link=Link.UP)
    assert trio.current_time() > 600
    assert links(reports) == [Link.CONNECTING, Link.REFUSED, Link.UP]  # a probe invites nobody


async def peer_dials(peer, count):
    while peer.dials < count:
        await trio.sleep(1)


async def test_a_bad_key_that_shows_after_the_upgrade(autojump_clock, start):
    peer = FakePeer(greets=False)
    _, reports = start(peer)
    connection = await peer.connection()
    message = f"Incorrect API key provided: {KEY}"
    await connection.send(
        "error", error={"type": "invalid_request_error", "code": "invalid_api_key", "message": message}
    )
    refused = await reports.until(LinkChanged, link=Link.REFUSED)
    assert "invalid_api_key" in refused.cause
    assert KEY not in refused.cause


async def test_the_error_counts_though_the_close_follows_at_once(autojump_clock, start):
    peer = FakePeer(greets=False)
    _, reports = start(peer)
    connection = await peer.connection()
    await connection.send("error", error={"code": "insufficient_quota", "type": "x", "message": "no credit"})
    await connection.socket.aclose(3000, "bye")
    assert "insufficient_quota" in (await reports.until(LinkChanged, link=Link.REFUSED)).cause


async def test_rejected_settings_are_the_owners_to_mend(autojump_clock, start):
    peer = FakePeer(sets_up=False)
    _, reports = start(peer)
    connection = await peer.connection()
    await connection.until("session.update")
    await connection.send(
        "error", error={"type": "invalid_request_error", "code": "invalid_value", "message": "voice?"}
    )
    assert "voice?" in (await reports.until(LinkChanged, link=Link.REFUSED)).cause


async def test_an_expired_session_is_renewed_at_once(autojump_clock, start):
    peer = FakePeer()
    _, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    at = trio.current_time()
    await peer.connections[0].send("error", error={"type": "invalid_request_error", "code": "session_expired"})
    await peer.connection(2)
    assert trio.current_time() == at
    assert Link.DOWN not in links(reports)


async def test_a_dead_connection_is_found_by_its_missing_pong(autojump_clock, start, monkeypatch):
    peer = FakePeer()
    _, reports = start(peer)
    connection = await peer.connection()
    await reports.until(LinkChanged, link=Link.UP)

    async def no_pong(event):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(connection.socket, "_send", no_pong)
    at = trio.current_time()
    assert "no pong" in (await reports.until(LinkChanged, link=Link.DOWN)).cause
    assert trio.current_time() - at == SETTINGS.ping_interval_s + SETTINGS.ping_timeout_s
    await peer.connection(2)


async def test_it_closes_politely_when_it_is_stopped(autojump_clock):
    peer = FakePeer()
    reports = Reports()
    endpoint = RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: KEY, dial=peer.dial)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.run, reports)
        await reports.until(LinkChanged, link=Link.UP)
        at = trio.current_time()
        nursery.cancel_scope.cancel()
    assert peer.connections[0].closed.code == 1000
    assert trio.current_time() == at


async def test_it_stops_while_it_dials_or_waits(autojump_clock):
    for peer in (FakePeer(refusals=[LOST] * 99), FakePeer(greets=False)):
        with trio.move_on_after(3):
            await RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: KEY, dial=peer.dial).run(Reports())
        assert peer.dials


# The turn


async def test_an_utterance_is_sent_as_it_grows(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    growing = TestUtterance(1)
    endpoint.begin(growing)
    growing.append(b"\1\0" * 480)
    (connection,) = peer.connections
    await connection.until("input_audio_buffer.append")
    growing.append(b"\2\0" * 4800)
    await connection.until("input_audio_buffer.append", 2)
    growing.append(b"\3\0" * 10)  # too little for a message of its own
    await trio.testing.wait_all_tasks_blocked()
    assert connection.types.count("input_audio_buffer.append") == 2
    growing.ended = True
    endpoint.ask(1)
    await connection.until("response.create")
    assert connection.questions == [bytes(growing.pcm)]
    assert connection.types.count("input_audio_buffer.append") == 3


async def test_what_was_recorded_while_the_link_was_down_goes_once_it_is_up(autojump_clock, start):
    peer = FakePeer(refusals=[LOST] * 3, answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await ask(endpoint, 1, b"\1\2" * 200_000)
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert peer.connections[0].questions == [b"\1\2" * 200_000]


@pytest.mark.parametrize("when", ["listening", "asked", "created"])
async def test_an_unanswered_utterance_goes_whole_to_the_next_connection(autojump_clock, start, when):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    (connection,) = peer.connections
    growing = TestUtterance(1, bytearray(b"\1\2" * 7200))
    endpoint.begin(growing)
    await connection.until("input_audio_buffer.append")
    if when != "listening":
        endpoint.ask(1)
        await connection.until("response.create")
    if when == "created":
        await connection.send("response.created", response={"id": "resp_1"})
    await connection.drop()
    second = await peer.connection(2)
    growing.append(b"\3\4" * 4800)
    await second.until("input_audio_buffer.append")
    if when == "listening":
        endpoint.ask(1)
    await second.until("response.create")
    assert second.questions == [bytes(growing.pcm)]
    await sound(second)
    assert reports.of(AnswerEnded) == []
    await reports.until(AnswerAudio, turn=1)


async def test_an_answer_in_the_middle_of_which_the_link_goes_is_cut_and_not_asked_again(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    connection = await peer.connection()
    await connection.until("response.create")
    await sound(connection)
    await reports.until(AnswerAudio)
    await connection.drop()
    cut = await reports.until(AnswerEnded)
    assert (cut.turn, cut.ending) == (1, Ending.CUT)
    await reports.until(LinkChanged, after=reports.events.index(cut), link=Link.UP)
    with trio.move_on_after(5):
        await peer.connections[1].until("input_audio_buffer.append")
    assert set(peer.connections[1].types) <= {"session.update", "conversation.item.create"}


@pytest.mark.parametrize("command", ["cancel", "discard"])
async def test_nothing_of_a_dropped_turn_is_sent(autojump_clock, start, command):
    peer = FakePeer(refusals=[LOST])
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    getattr(endpoint, command)(1)
    await reports.until(LinkChanged, link=Link.UP)
    with trio.move_on_after(60):
        await peer.connections[0].until("input_audio_buffer.append")
    assert peer.connections[0].types == ["session.update"]
    assert reports.of(AnswerEnded) == []


async def test_a_cancelled_answer_is_not_heard_and_the_next_one_is(autojump_clock, start):
    peer = FakePeer(answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    await (await peer.connection()).until("response.create")
    endpoint.cancel(1)
    await ask(endpoint, 2)
    assert (await reports.until(AnswerEnded)) == AnswerEnded(2, Ending.COMPLETE)
    assert reports.sound(1) == b""
    assert reports.sound(2) == ANSWER


async def test_barge_in_tells_what_was_heard(autojump_clock, start):
    peer = FakePeer(answer=lambda _: ANSWER, pace_s=1)
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    await reports.until(AnswerAudio)
    endpoint.interrupt(1, 70)
    truncate = await peer.connections[0].until("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 70
    await ask(endpoint, 2)
    await reports.until(AnswerEnded, turn=2)
    assert [event.turn for event in reports.of(AnswerEnded)] == [2]


async def test_an_answer_that_never_comes_fails_and_the_silent_connection_is_replaced(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    failed = await reports.until(AnswerEnded)
    assert failed.ending is Ending.FAILED
    assert "no answer within 15 s" in failed.reason
    second = await peer.connection(2)
    await second.until("session.update")
    with trio.move_on_after(5):
        await second.until("input_audio_buffer.append")
    assert second.types == ["session.update"]


async def test_an_answer_that_stalls_is_cut(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    connection = await peer.connection()
    await connection.until("response.create")
    await sound(connection)
    assert (await reports.until(AnswerEnded)).ending is Ending.CUT
    await peer.connection(2)


async def test_a_cancelled_answer_that_never_ends_does_not_block_the_next(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    connection = await peer.connection()
    await connection.until("response.create")
    await sound(connection)
    await reports.until(AnswerAudio)
    endpoint.interrupt(1, 0)
    await ask(endpoint, 2)
    at = trio.current_time()
    second = await peer.connection(2)
    await second.until("response.create")
    assert len(second.questions) == 1
    assert trio.current_time() - at <= CANCEL_TIMEOUT_S + 1


async def test_forget_begins_a_new_session_with_nothing_of_the_old(autojump_clock, start):
    peer = FakePeer(answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    endpoint.forget()  # nothing was said yet
    await ask(endpoint, 1)
    await reports.until(AnswerEnded)
    assert len(peer.connections) == 1
    endpoint.forget()
    second = await peer.connection(2)
    assert peer.connections[0].closed.code == 1000
    await second.until("session.update")
    await ask(endpoint, 2)
    assert await reports.until(AnswerEnded, turn=2) == AnswerEnded(2, Ending.COMPLETE)
    assert len(second.questions) == 1
    assert Link.DOWN not in links(reports)


async def test_too_many_questions_in_a_minute_fail_clearly(autojump_clock, start):
    peer = FakePeer(answer=lambda _: ANSWER)
    endpoint, reports = start(peer, evolve(SETTINGS, requests_per_minute=2))
    for turn in (1, 2, 3):
        await ask(endpoint, turn)
        await reports.until(AnswerEnded, turn=turn)
    assert [event.ending for event in reports.of(AnswerEnded)] == [Ending.COMPLETE, Ending.COMPLETE, Ending.FAILED]
    assert "requests_per_minute" in reports.of(AnswerEnded)[-1].reason
    await trio.sleep(60)
    await ask(endpoint, 4)
    assert (await reports.until(AnswerEnded, turn=4)).ending is Ending.COMPLETE


async def test_too_little_sound_fails_without_a_question(autojump_clock, start):
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1, bytes(50 * MS))
    assert (await reports.until(AnswerEnded)).ending is Ending.FAILED
    assert "input_audio_buffer.commit" not in peer.connections[0].types


async def test_commands_before_and_after_run_never_raise(autojump_clock):
    endpoint = RealtimeEndpoint(SETTINGS, CONVERSATION, lambda: KEY, dial=FakePeer().dial)
    endpoint.begin(utterance(1))
    endpoint.ask(1)
    endpoint.cancel(1)
    endpoint.discard(1)
    endpoint.interrupt(1, 5)
    endpoint.forget()


# What else a peer can send


async def test_a_close_reason_is_one_printable_line(autojump_clock, start):
    peer = FakePeer()
    _, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await peer.connections[0].socket.aclose(1011, f"over\n\x1b[31m{KEY}")
    cause = (await reports.until(LinkChanged, link=Link.DOWN)).cause
    assert cause.isprintable()
    assert "1011: over" in cause
    assert KEY not in cause


@pytest.mark.parametrize("message", ["garbage", "[]", b"\xff\x00", '{"type":"response.audio.delta","delta":"!"}'])
async def test_nonsense_is_one_line_and_changes_nothing(autojump_clock, start, caplog, message):
    peer = FakePeer(answer=lambda _: ANSWER)
    endpoint, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    for _ in range(5):
        await peer.connections[0].socket.send_message(message)
    await ask(endpoint, 1)
    assert (await reports.until(AnswerEnded)).ending is Ending.COMPLETE
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


async def test_a_message_of_20_mb_ends_the_connection_and_no_more(autojump_clock, start, caplog):
    peer = FakePeer()
    _, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    await peer.connections[0].socket.send_message("x" * 20_000_000)
    down = await reports.until(LinkChanged, link=Link.DOWN)
    assert "1009" in down.cause
    await reports.until(LinkChanged, after=reports.events.index(down), link=Link.UP)
    assert not any(record.exc_info for record in caplog.records)


async def test_an_outage_is_told_loudly_once(autojump_clock, start, caplog):
    caplog.set_level(logging.DEBUG, "kioskd")
    peer = FakePeer(refusals=[LOST] * 5)
    _, reports = start(peer)
    await reports.until(LinkChanged, link=Link.UP)
    levels = [record.levelname for record in caplog.records if record.name == "kioskd.endpoints.recovery"]
    assert levels == ["WARNING", "DEBUG", "DEBUG", "DEBUG", "DEBUG", "INFO"]


async def test_neither_key_nor_transcript_is_logged(autojump_clock, start, caplog):
    caplog.set_level(logging.DEBUG, "kioskd")
    peer = FakePeer()
    endpoint, reports = start(peer)
    await ask(endpoint, 1)
    connection = await peer.connection()
    await connection.until("response.create")
    ids = {"response_id": "resp_1", "item_id": "item_2"}
    await connection.send("response.output_audio_transcript.done", transcript="my little secret", **ids)
    await reports.until(Transcript)
    await connection.send("error", error={"code": "odd", "message": f"key {KEY}", "event_id": "other"})
    await connection.send("error", error={"code": "invalid_api_key", "message": f"key {KEY}"})
    await reports.until(LinkChanged, link=Link.REFUSED)
    assert "secret" not in caplog.text
    assert KEY not in caplog.text
    assert "***" in caplog.text
