"""What a launcher tells the user, once."""

from crayai.hpo.launch.notices import Notices


def test_a_text_is_told_once():
    """What was taken is not there any more."""
    notices = Notices()
    assert not notices
    notices.tell("a")
    notices.tell("b")
    assert notices
    assert notices.take() == ["a", "b"]
    assert not notices
    assert notices.take() == []


def test_a_trouble_is_told_when_it_begins_and_ends():
    """What is said of it meanwhile is not told, nor is the end of one that was not there; then it may begin again."""
    notices = Notices()
    notices.end("outage", "it answers again")
    for said in ("refused", "timed out"):
        notices.begin("outage", f"it does not answer: {said}")
    assert "outage" in notices
    assert "full" not in notices
    notices.end("outage", "it answers again")
    assert "outage" not in notices
    notices.begin("outage", "it does not answer: once more")
    notices.end("outage")
    told = ["it does not answer: refused", "it answers again", "it does not answer: once more"]
    assert notices.take() == told
