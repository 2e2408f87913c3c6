"""Signals: the first one asks, time presses, and nothing is cut in two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dualnet.process.stopping import STOP_SIGNALS, Stopped, Stopper


def send(number):
    """A signal to this process; its handler has run when this returns."""
    os.kill(os.getpid(), number)
    time.sleep(0)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_first_signal_only_asks(number):
    with Stopper(60.0) as stopper:
        stopper.defers_first_signal = True
        assert not stopper.requested
        send(number)
        assert stopper.requested
        send(number)  # to the whole job, and again by the launcher
        assert str(stopper.error()) == f"ended by {signal.Signals(number).name}"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_with_nothing_to_save_it_ends_at_once(number):
    with pytest.raises(Stopped) as caught, Stopper(60.0):
        send(number)
    assert caught.value.exit_code == 128 + number


def test_time_presses():
    with pytest.raises(Stopped), Stopper(0.01) as stopper:
        stopper.defers_first_signal = True
        send(signal.SIGTERM)
        time.sleep(60)


def test_a_held_stretch_is_finished_first():
    done = []
    with pytest.raises(Stopped), Stopper(0.0) as stopper:
        stopper.defers_first_signal = True
        with stopper.defer_signals():
            send(signal.SIGTERM)
            while not stopper._is_late:
                time.sleep(0.001)
            done.append("held")
        done.append("never")
    assert done == ["held"]


def test_after_release_nothing_is_in_a_hurry():
    with Stopper(0.0) as stopper:
        stopper.defers_first_signal = True
        stopper.cancel_deadline()
        send(signal.SIGTERM)
        time.sleep(0.02)
        with stopper.defer_signals():
            pass
        assert stopper.requested


def test_what_is_put_off_is_raised_where_one_waits():
    done = []
    with pytest.raises(Stopped) as caught, Stopper(60.0) as stopper:
        stopper.defer()
        send(signal.SIGUSR1)
        with stopper.defer_signals():
            send(signal.SIGTERM)
            stopper.check()  # not where it is held
        done.append("put off")
        stopper.fs.sleep(600.0)
        done.append("never")
    assert done == ["put off"] and caught.value.number == signal.SIGTERM


def test_a_sleep_without_signals_lasts_as_long_as_it_should(monkeypatch):
    monkeypatch.setattr("dualnet.process.stopping._CHECK_S", 0.002)
    with Stopper(60.0) as stopper:
        started_s = time.monotonic()
        stopper.fs.sleep(0.01)
        assert time.monotonic() - started_s >= 0.01


def test_what_was_put_off_is_raised_when_the_training_begins():
    with pytest.raises(Stopped), Stopper(60.0) as stopper:
        stopper.defer()
        send(signal.SIGTERM)
        stopper.defers_first_signal = True
        stopper.resume()


def test_on_the_way_out_further_signals_change_nothing():
    done = []
    with pytest.raises(Stopped), Stopper(60.0):
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            done.append("tidied up")
    assert done == ["tidied up"]


def test_ctrl_c_is_put_off_as_well():
    done = []
    with pytest.raises(KeyboardInterrupt), Stopper(60.0) as stopper:
        with stopper.defer_signals():
            send(signal.SIGINT)
            done.append("held")
        done.append("never")
    assert done == ["held"]


def test_the_first_ctrl_c_is_a_request_and_the_second_ends_at_once():
    with pytest.raises(KeyboardInterrupt), Stopper(60.0) as stopper:
        stopper.defers_first_signal = True
        send(signal.SIGINT)
        assert stopper.requested
        error = Stopped(signal.SIGINT, "iteration 7")
        assert (error.can_resume, error.exit_code) == (True, 130)
        assert str(error) == "stopped by SIGINT; iteration 7"
        send(signal.SIGINT)


def test_stopping_after_ctrl_c_that_takes_too_long_is_no_interrupt():
    with pytest.raises(Stopped) as caught, Stopper(0.01) as stopper:
        stopper.defers_first_signal = True
        send(signal.SIGINT)
        time.sleep(10)
    assert caught.value.number == signal.SIGINT


def test_handlers_are_put_back():
    taken = (*STOP_SIGNALS, signal.SIGALRM, signal.SIGINT)
    before = [signal.getsignal(n) for n in taken]
    with Stopper(1.0):
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(n) for n in taken] == before


def test_in_another_thread_it_does_nothing():
    errors = []

    def run():
        try:
            with Stopper(1.0) as stopper:
                assert not stopper.requested
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    assert errors == []


def test_a_stop_that_can_go_on_is_a_success():
    error = Stopped(signal.SIGUSR1, "iteration 7; the same command continues")
    assert error.exit_code == 0
    assert str(error) == "stopped by SIGUSR1; iteration 7; the same command continues"


def test_a_closed_terminal_stops_but_for_those_that_ignore_it(repository):
    telling = "from dualnet.process.stopping import STOP_SIGNALS as s; print(*[n.name for n in s])"
    for command, expected in (
        ([], "SIGTERM SIGUSR1 SIGHUP"),
        (["nohup"], "SIGTERM SIGUSR1"),
    ):
        done = subprocess.run(
            [*command, sys.executable, "-c", telling],
            cwd=repository,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == expected
