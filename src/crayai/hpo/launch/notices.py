"""What a launcher has to tell the user: each thing once, a trouble when it begins and when it is over."""

OUTAGE, FULL = "outage", "full"
"""The troubles of which several launchers tell: nobody answers, no more is taken."""


class Notices:
    """Texts that were not told before.

    A trouble goes by a name of its own: the first text for it is told, others not before it is over.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._troubles: set[str] = set()

    def __bool__(self) -> bool:
        """Return whether there is anything to tell."""
        return bool(self._texts)

    def __contains__(self, trouble: str) -> bool:
        """Return whether a trouble goes on."""
        return trouble in self._troubles

    def tell(self, text: str) -> None:
        """Have the user told."""
        self._texts.append(text)

    def begin(self, trouble: str, text: str) -> None:
        """Have the user told of a trouble, unless it goes on already."""
        if trouble not in self._troubles:
            self._troubles.add(trouble)
            self.tell(text)

    def end(self, trouble: str, text: str = "") -> None:
        """Have the user told that a trouble is over, if it went on, and there is a text for it."""
        if trouble in self._troubles:
            self._troubles.remove(trouble)
            if text:
                self.tell(text)

    def take(self) -> list[str]:
        """Return what is to be told now."""
        told, self._texts = self._texts, []
        return told
