import inspect

import pytest

from linnaeus import errors
from linnaeus.errors import CheckFailed, Interrupted, LinnaeusError, PictureError, SourceError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_an_error_tells_rule_got_and_fix_in_that_order():
    error = SourceError("photos/ should hold pictures.", got="0 files", fix="check the path.")
    assert str(error).splitlines() == ["photos/ should hold pictures.", "  got: 0 files", "  fix: check the path."]


def test_what_is_not_known_is_not_printed():
    assert str(SourceError("one rule.")) == "one rule."


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_one_of_the_users(kind):
    assert issubclass(kind, LinnaeusError)
    assert kind.exit_code in (2, 3, 130)


def test_a_failed_check_and_a_stop_have_exit_codes_of_their_own():
    assert (LinnaeusError.exit_code, CheckFailed.exit_code, Interrupted.exit_code) == (2, 3, 130)


def test_a_stop_says_how_to_go_on():
    assert "linnaeus train --resume runs/x" in str(Interrupted("runs/x"))


def test_a_stop_of_something_else_says_what_goes_on_with_that():
    assert Interrupted("runs/x", command="linnaeus compress runs/x").fix == "go on with: linnaeus compress runs/x"


def test_a_picture_error_has_one_of_the_fixed_reasons():
    assert str(PictureError("truncated", "12 of 40 rows")) == "truncated: 12 of 40 rows"
    with pytest.raises(AssertionError):
        PictureError("ugly")
