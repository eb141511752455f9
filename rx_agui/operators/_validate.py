"""What is not AG-UI goes no further than this.

in      abXc-|          X = {"type": "TEXT_MESSAGE_CONTENT", "messageId": null}
        validate(errors=errors)
out     ab-c-|
errors  --X--
"""

from __future__ import annotations

from rx_agui.operators._stage import Errors, Operator

__all__ = ["validate"]


def validate(*, errors: Errors = None) -> Operator:
    """Let through what an AG-UI client accepts; refuse the rest with ValidationError.

    Stands first, before `sequence`, so that what is refused leaves no gap.

    Args:
        errors: Told of each event that is no AG-UI; the stream goes on without it.
            Without it such an event ends the stream, behind the others.
    """
    raise NotImplementedError
