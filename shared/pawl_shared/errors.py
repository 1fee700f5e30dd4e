"""Every error that Pawl raises on purpose.

PawlError                       base: `str(error)` says what is wrong and what to do about it
├── ConfigurationError          a setting is missing or contradicts another
├── ApiKeysUnreadableError      the file of API keys is damaged or gone; nobody is let in meanwhile
├── AccessRefusedError          a request without the right to what it asks for (access/service.py)
├── DecodeError                 a record is not a readable event; it goes to dead letters with this reason
├── DeadLetterError             a dead letter cannot be found or tried again
├── KeysUnreadableError         a key of sealed text can not be had now: no master key for it, or no broker
├── BusError                    the broker refused or did not answer in time
│   ├── FencedError             another instance took over this identity; the only right answer is to stop
│   └── SecondInstanceError     another instance does this work already
├── ArtifactError
│   ├── ArtifactNotFoundError   no artifact has this digest
│   └── ArtifactCorruptError    the content does not match its digest
├── AdapterRejectedError        an adapter cannot be served or judged; serving goes on without it
├── BaseModelError              a base model cannot be found or read
└── ChildFailedError            a child process ended without a result; carries its reason and advice
"""

from __future__ import annotations


class PawlError(Exception):
    """Base of all errors that Pawl raises on purpose."""


class ConfigurationError(PawlError):
    """A setting is missing or contradicts another."""


class ApiKeysUnreadableError(PawlError):
    """The file of API keys is damaged, or gone."""


class DecodeError(PawlError):
    """A record that is not a readable event."""


class DeadLetterError(PawlError):
    """A dead letter that cannot be found or tried again."""


class KeysUnreadableError(PawlError):
    """Whether there is a key, or what it is, can not be told now; not the same as an erased one."""


class BusError(PawlError):
    """The broker refused, or did not answer in time."""


class FencedError(BusError):
    """Another instance took over this identity."""


class SecondInstanceError(BusError):
    """Another instance works already where only one may."""


class ArtifactError(PawlError):
    """Something is wrong with an artifact."""


class ArtifactNotFoundError(ArtifactError):
    """No artifact has this digest."""


class ArtifactCorruptError(ArtifactError):
    """The content does not match its digest."""


class AdapterRejectedError(PawlError):
    """An adapter that cannot be served or judged."""


class BaseModelError(PawlError):
    """A base model cannot be found or read."""


class ChildFailedError(PawlError):
    """A child process ended without a result."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason} {advice}".strip())
        self.reason = reason
        self.advice = advice
