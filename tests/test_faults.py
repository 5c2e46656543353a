"""The table of faults in the documentation is what the tests inject."""

from faults import PAGE, page


def test_the_page_of_faults_is_up_to_date():
    """docs/faults.md lists just the faults that tests inject; `python tests/faults.py` writes it anew."""
    assert PAGE.read_text() == page()
