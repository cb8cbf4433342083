"""Hides values that look like secrets, for records and reports: by their name, and by their form.

    >>> masked_values({"lr": 0.1, "api-token": "abc", "store": "https://ann:pw@host/x"})
    {'lr': 0.1, 'api-token': '***', 'store': 'https://***@host/x'}

No rule can find each secret. Configurations travel to all data owners, so a secret is wrong there in any case.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

MASK = "***"

#: Words of a name whose value is a secret, also ends of longer words, such as ``PGPASSWORD`` and ``accesstoken``.
_SECRET = re.compile(
    r"auth|authorization|bearer|cookies?|credentials?|creds|dsn|jwt|oauth|otp|passcode|passwords|pwd|secrets"
    r"|webhook|tokens|(?:db|ftp|mysql|redis|root|smtp|ssh|user)pass"
    r"|.*(?:password|passwd|passphrase|secret|token|apikey|accesskey|privatekey|connectionstring|sessionid|sessid)"
)
#: Two words of a name that make its value a secret together.
_PAIR = re.compile(
    r"(?:access|account|api|encryption|licen[cs]e|master|openai|private|secret|sign|signing|ssh|wandb) keys?"
    r"|connection string|conn str|session id"
    r"|(?:db|ftp|login|mail|mysql|redis|smtp|user) pass"
)
#: Such a last word of a name tells that the value is a property, a place or a name of the secret.
_PROPERTY = re.compile(
    r"count|dir|directory|enabled|expires|expiry|file|folder|fn|header|kind|len|length|limit|method|mode|name|path|prefix"
    r"|ratio|required|size|timeout|ttl|type"
)
#: Such a word of a name tells that its tokens are those of a text.
_OF_TEXT = re.compile(
    r"bos|cls|context|eos|image|input|mask|max|min|n|new|num|number|output|pad|per|prompt|sep|special|stop|text|total|unk"
    r"|use|vocab"
)
#: Such a word of a name tells that a number is about the division of a secret between participants.
_OF_SHARES = re.compile(r"shares?|sharing")
#: Such a word of a name tells that a long hexadecimal value is public.
_DIGEST = re.compile(r"checksum|commit|digests?|fingerprints?|hash(?:es)?|md5|rev|revision|sha|sha1|sha256|sha512|uuid")
#: Values that tell nothing.
_EMPTY = frozenset(("", "auto", "default", "false", "no", "none", "null", "off", "on", "true", "yes"))
_FILE = re.compile(r"(?:~|\.{0,2})/[\w./ -]*\.[A-Za-z]{1,5}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+")

#: Forms of known secrets. The group is hidden.
_FORMS = re.compile(
    r"""
    -----BEGIN[ ].*
    | \beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    | \bgh[opsur]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,} | \bglpat-[\w-]{16,}
    | \bsk-[\w-]{20,} | \b[prs]k_(?:live|test)_[A-Za-z0-9]{16,}
    | \bxox[abeprs]-[\w-]{10,} | \bAIza[\w-]{30,} | \bya29\.[\w-]{20,} | \bhf_[A-Za-z0-9]{20,}
    | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[\w-]{30,} | \bSG\.[\w-]{16,}\.[\w-]{16,} | \bdapi[0-9a-f]{32}
    | \bGOCSPX-[\w-]{20,} | \b1//0[\w-]{20,} | \bAGE-SECRET-KEY-1[0-9A-Z]{40,}
    | (?<=\bhooks\.slack\.com/services/)[\w/]+ | (?<=\bdiscord\.com/api/webhooks/)[\w/-]+ | (?<=\b[Cc]ookie:[ ])[^"'\n]+
    | (?<=\bBearer[ ])(?=\S*\d)[\w.~+/=-]{8,} | (?<=\bBasic[ ])(?=\S*\d)[\w.~+/=-]{8,}
    """,
    re.VERBOSE | re.DOTALL,
)
#: A URL up to its end, in three parts: scheme, authority and the rest.
_URL = re.compile(r"""(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{1,30}://)(?P<authority>[^\s/?#"'<>]*)(?P<rest>[^\s"'<>]*)""")
#: The value of a header of HTTP has a scheme before it.
_VALUE = r"""(?P<value>"[^"]*"|'[^']*'|(?:(?:Basic|Bearer|Token)[ ](?![ ]))?[^\s&#;,"'{}]+)"""
#: A name with its value inside of a text: ``name=value``, ``name: value`` or ``"name": "value"``.
_ASSIGNED = re.compile(rf"""(?<![\w.-])(?P<name>[\w.-]{{1,80}})\\?["']?[ ]{{0,4}}[=:](?!//)[ ]{{0,4}}\\?{_VALUE}""")
#: ``--name value``, also as items of a list.
_OPTION = re.compile(rf"""(?<![\w.-])--(?P<name>[\w.-]{{1,80}})["']?,?[ ]{{1,4}}(?!-){_VALUE}""")
#: ``user:password@host`` without a scheme.
_USER = re.compile(r"""(?<![\w.:/@%+-])(?!mailto:)[\w.-]{1,64}:[^\s:/@,;"'<>]{1,128}@(?=[\w.-])""")
#: Names in the query of a URL, or in a part of one, with a secret.
_QUERY = re.compile(r"(?P<name>[?&](?:sig|signature|key|code|sas|x-amz-signature)=)[^&#\s]+", re.IGNORECASE)
_NO_DIGEST = r"(?<!sha256:)(?<!sha512:)(?<!sha256-)(?<!sha512-)(?<!sha1:)(?<!md5:)"
_LONG = re.compile(rf"(?<![A-Za-z0-9+/_=-]){_NO_DIGEST}[A-Za-z0-9+/_-]{{32,}}={{0,2}}")
_HEX = re.compile(
    rf"(?<![A-Za-z0-9]){_NO_DIGEST}(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{{32,}}(?![A-Za-z0-9])"
)
_SEPARATORS = re.compile(r"[/_=-]")
#: The least part of changes between capitals, small letters and digits in random text.
_CHANGES_OF_THREE, _CHANGES_OF_TWO = 0.35, 0.2


def masked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which ``***`` replaces each value, or a part of a text, that looks like a secret."""
    return {name: masked(name, value) for name, value in values.items()}


def masked(name: str, value: Any) -> Any:
    """Return the value of a name, with ``***`` in place of it or of a part if it looks like a secret."""
    if isinstance(value, Mapping):
        return MASK if _is_secret(name, "") and value else masked_values(value)
    if isinstance(value, (list, tuple)):
        return [masked(name, each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        if value.strip().lower() in _EMPTY:
            return value
        return MASK if _is_secret(name, value) else masked_text(value, are_digests=_has_digest(name))
    # A number can be a password, but is no token.
    return MASK if _is_secret(name, value) and not _words(name)[-1].startswith("token") else value


def masked_text(text: str, *, are_digests: bool = False) -> str:
    """Return a text with ``***`` in place of the parts that look like secrets. Of a URL, the rest stays.

    With ``are_digests``, long hexadecimal numbers stay.
    """
    text = _QUERY.sub(rf"\g<name>{MASK}", _URL.sub(_masked_url, _FORMS.sub(MASK, text)))
    text = _USER.sub(f"{MASK}@", text)
    text = _OPTION.sub(_masked_value, _ASSIGNED.sub(_masked_value, text))
    if are_digests:
        return text
    return _LONG.sub(lambda found: MASK if _is_random(found[0]) else found[0], _HEX.sub(MASK, text))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)] or [""]


def _has_digest(name: str) -> bool:
    return any(map(_DIGEST.fullmatch, _words(name)))


def _is_secret(name: str, value: Any) -> bool:
    words = _words(name)
    if _PROPERTY.fullmatch(words[-1]) or (not isinstance(value, str) and any(map(_OF_SHARES.fullmatch, words))):
        return False
    found = [word for word in words if _SECRET.fullmatch(word)]
    if found and all(word.startswith("token") for word in found):
        return not any(map(_OF_TEXT.fullmatch, words))
    if found or any(_PAIR.fullmatch(f"{one} {other}") for one, other in pairwise(words)):
        # The path of a file with a secret is none.
        return not (isinstance(value, str) and _FILE.fullmatch(value))
    return (words[-1] == "private" and isinstance(value, str)) or words == ["pass"]


def _masked_url(found: re.Match[str]) -> str:
    scheme, authority, rest = found["scheme"], found["authority"], found["rest"]
    before, _, port = authority.partition(":")
    after = authority + rest
    if "@" in authority:
        if ":" in authority.rpartition("@")[0] or scheme.lower().endswith(("http://", "https://")):
            # A password can have any character.
            after = f"{MASK}@{after.rpartition('@')[2]}"
    elif before and port and not port.isdigit() and not port.startswith("[") and "@" in rest:
        after = f"{MASK}@{rest.rpartition('@')[2]}"
    return scheme + after


def _masked_value(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    bare = value.strip("\"'")
    if bare.lower() in _EMPTY or value.startswith(MASK) or not _is_secret(name, bare):
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found[0][: -len(value)]}{quote}{MASK}{quote}"


def _is_random(text: str) -> bool:
    """Return whether a long text changes so often between capitals, small letters and digits as random text does."""
    parts = [[0 if each.isdigit() else 1 if each.islower() else 2 for each in part] for part in _SEPARATORS.split(text)]
    pairs = [one != other for part in parts for one, other in pairwise(part)]
    kinds, changes = {kind for part in parts for kind in part}, sum(pairs) / max(1, len(pairs))
    if len(kinds) == 3:
        return changes >= _CHANGES_OF_THREE
    return 0 in kinds and len(parts) == 1 and changes >= _CHANGES_OF_TWO
