"""Personal data and secrets in text, replaced by what they are: `ada@example.org` becomes `<email>`. Pure.

Patterns find candidates, libraries decide: python-stdnum by the check digits of cards and IBANs, phonenumbers by the
number plans of all countries, `ipaddress` by syntax. Every pattern takes linear time: repetitions are bounded or
possessive (they never give back what they took), and none can start again inside what it has just refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn

from pawl_streams.policy import ScrubPolicy

# Passes over a text: a replacement may uncover a neighbour, as a word boundary appears. Two are usual.
MAX_PASSES = 8
# Candidates that phonenumbers looks at in one pass, some 0.1 ms each. In a text with more, all that are left and have
# enough digits count as phone numbers: it is a list of numbers, and a leak would cost more than a lost list.
MAX_PHONE_CANDIDATES = 1000
# The same for what the other checks refuse; they take 0.01 to 0.1 ms.
MAX_REFUSED = 5000
MIN_PHONE_DIGITS = 8
WITHHELD = "<withheld>"

_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]{1,64}+@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}\b")
_CARD = re.compile(r"(?<![\d.])(?:\d{13,19}+|\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5})(?![\d])")
# Atomic groups rather than possessive ones, `(?:…){n,m}+`, which mean the same: with these a private key once was not
# found that is found otherwise (Python 3.11.7, a busy machine; in none of 89,000 tries after that, cause unknown).
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?>(?:[ -]?[A-Z0-9]{4}){2,7})(?:[ -]?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[\da-f]*:[\da-f]*:)[\da-f:]{2,39}+(?:(?:\.\d{1,3}){3})?(?![\w:])", re.IGNORECASE)
_PHONE = re.compile(r"(?<![\w])(?:\+|\(\+?)?\d[\d ()\u00a0\u2010-\u2015./-]{5,28}\d(?!\w)")
# Formats that their makers document. The last: what somebody assigns to a name that says it is secret.
_SECRETS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}            # AWS access keys
    | gh[pousr]_[A-Za-z0-9]{36,255} | github_pat_\w{22,255}
    | gl(?:pat|dt|rt|ptt|cbt)-[\w-]{20,255}          # GitLab
    | sk-[A-Za-z0-9_-]{20,255}                       # OpenAI, Anthropic
    | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,255} # Stripe
    | xox[abeoprs]-[A-Za-z0-9-]{10,255}              # Slack
    | AIza[A-Za-z0-9_-]{35}                          # Google
    | (?:hf|npm)_[A-Za-z0-9]{30,255}                 # Hugging Face, npm
    | pypi-[A-Za-z0-9_-]{50,255}
    | SG\.[\w-]{16,64}\.[\w-]{16,64}                 # SendGrid
    | eyJ[\w-]{8,4096}+\.eyJ[\w-]{8,4096}+\.[\w-]{8,4096}+  # JSON Web Tokens
    )(?![A-Za-z0-9])""",
    re.VERBOSE,
)
_PRIVATE_KEY = re.compile(  # also one that the text's end cuts off
    r"-----BEGIN (?:[A-Z]{2,10} ){0,3}PRIVATE KEY-----(?>(?:[A-Za-z0-9+/=\s:,]|-(?!----)){0,16384})"
    r"(?:-----END[A-Z ]{0,40}-----|\Z)"
)
_ASSIGNED = re.compile(
    r"""(?<![A-Za-z0-9])((?:api[_-]?key|secret|(?:access|auth)[_-]?token|passw(?:or)?d|pwd)["']?\s{0,3}[:=]\s{0,3}["']?)"""
    r"""(?=[^\s"'<>,;&]{0,254}\d)[^\s"'<>,;&]{8,255}""",
    re.IGNORECASE,
)
_GLOBAL_IPV6, _LOCAL_IPV6 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("fc00::/6")

Check = Callable[[str], bool]


def scrub(text: str, policy: ScrubPolicy) -> tuple[str, Mapping[str, int]]:
    """The text without personal data, and how many of each kind it had; the text itself where it had none.

    Doing it again changes nothing. What still changes after MAX_PASSES was made to: it is withheld whole.
    """
    counts: Counter[str] = Counter()
    if not policy.enabled:
        return text, counts
    for _ in range(MAX_PASSES):
        new = text
        for kind, replace in _steps(policy):
            new, found = replace(new)
            counts[kind] += found
        if new == text:
            return text, +counts
        text = new
    return WITHHELD, +(counts + Counter(withheld=1))


def _steps(policy: ScrubPolicy) -> Iterator[tuple[str, Callable[[str], tuple[str, int]]]]:
    """In this order, as a card number inside a key is part of the key."""
    steps: tuple[tuple[str, Callable[[str], tuple[str, int]]], ...] = (
        ("secret", partial(_replace, _PRIVATE_KEY, "<secret>", _any)),
        ("secret", partial(_replace, _SECRETS, "<secret>", _any)),
        ("secret", _assigned),
        ("email", partial(_replace, _EMAIL, "<email>", _any)),
        ("iban", partial(_replace, _IBAN, "<iban>", _is_iban)),
        ("card", partial(_replace, _CARD, "<card>", _is_card)),
        ("ip", partial(_replace, _IPV4, "<ip>", _is_address)),
        ("ip", partial(_replace, _IPV6, "<ip>", _is_address)),
        ("phone", partial(_phones, regions=policy.phone_regions)),
    )
    return ((kind, step) for kind, step in steps if kind in policy.kinds)


def _replace(pattern: re.Pattern[str], placeholder: str, check: Check, text: str) -> tuple[str, int]:
    """Every candidate that passes the check, replaced. After one that does not, the search goes on behind its first
    group of letters and digits: `2024 4111 1111 1111 1111` holds a card, but not at its beginning."""
    parts, done, at, found, refused = list[str](), 0, 0, 0, 0
    while match := pattern.search(text, at):
        if refused > MAX_REFUSED or check(match[0]):
            parts += [text[done : match.start()], placeholder]
            done = at = match.end()
            found += 1
        else:
            at = _behind_first_group(match)
            refused += 1
    return "".join((*parts, text[done:])), found


def _behind_first_group(match: re.Match[str]) -> int:
    group = re.search(r"[^\w]", match[0])
    return match.start() + group.start() if group and group.start() else match.end()


def _any(_: str) -> bool:
    return True


def _is_iban(candidate: str) -> bool:
    return bool(iban.is_valid(candidate))


def _is_card(candidate: str) -> bool:
    """Issuers' numbers begin with 2 to 6 (ISO/IEC 7812); zeros pass Luhn, and are no card."""
    digits = re.sub(r"\D", "", candidate)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and digits.isascii() and bool(luhn.is_valid(digits))


def _is_address(candidate: str) -> bool:
    """Not the ones that are nobody's (`127.0.0.1`, `::1`), and no C++ or slice (`a::b`, `1::2`)."""
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address in _GLOBAL_IPV6 or address in _LOCAL_IPV6
    return not (address.is_loopback or address.is_unspecified)


def _assigned(text: str) -> tuple[str, int]:
    return _ASSIGNED.subn(r"\1<secret>", text)


def _phones(text: str, *, regions: tuple[str, ...]) -> tuple[str, int]:
    parts, done, found = list[str](), 0, 0
    for number, match in enumerate(_PHONE.finditer(text)):
        if sum(map(str.isdigit, match[0])) < MIN_PHONE_DIGITS - 1:
            continue
        spans = _phone_spans(match[0], text[match.end() : match.end() + 3], regions, number >= MAX_PHONE_CANDIDATES)
        for start, end in spans:
            parts += [text[done : match.start() + start], "<phone>"]
            done = match.start() + end
            found += 1
    return "".join((*parts, text[done:])), found


def _phone_spans(candidate: str, behind: str, regions: tuple[str, ...], sure: bool) -> Iterator[tuple[int, int]]:
    """Where numbers stand in a candidate. Without a region, only those with a country code are known; what is behind it
    tells `2024-01-05 12:30` from a number."""
    if sure:
        if sum(map(str.isdigit, candidate)) >= MIN_PHONE_DIGITS:
            yield 0, len(candidate)
        return
    for region in regions or (None,):
        found = PhoneNumberMatcher(candidate + behind, region, leniency=Leniency.VALID, max_tries=10)
        spans = [(match.start, match.end) for match in found if match.end <= len(candidate)]
        if spans:
            yield from spans
            return
