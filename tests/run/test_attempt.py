"""What several readings of one command amount to."""

from pipeline.run.attempt import Attempt


def test_readings_add_up_and_the_longest_has_the_times() -> None:
    attempt = Attempt(
        "noon", samples=24_000, wall_s=2.0, lost=True, unheard=True, held={0: ["a"]}, times={"stages": "short"}
    )
    attempt.take({"samples": 24_000, "undecoded": ["a"], "codes_part": "codes/part-1", "codes_sha256": "1"})
    attempt.add(Attempt("later", {"codes/part-2": "2"}, 240_000, {"b"}, 3.0, times={"stages": "long"}))
    attempt.add(Attempt("last", samples=24_000, wall_s=1.0, shaky=frozenset("n"), times={"stages": "short"}))
    assert attempt.parts == {"codes/part-1": "1", "codes/part-2": "2"}
    assert attempt.undecoded == {"a", "b"}
    assert attempt.unheard
    assert (attempt.lost, attempt.held, attempt.shaky) == (False, {}, frozenset("n"))
    assert attempt.record("evening", "voxmill") == {
        "started": "noon",
        "finished": "evening",
        "command": "voxmill",
        "wall_s": 6.0,
        "audio_s": 13.0,
        "times_real_time": 2.17,
        "stages": "long",
    }
