"""Values that look like secrets are hidden in records and reports, and ordinary values are shown."""

import random
import string
import time
from typing import Any

import pytest

from syft_flwr.runs.secrets_mask import MASK, masked, masked_text, masked_values

_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0NzExIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
_HEX = "9f86d081884c7d659a2feaa0c55ad015"
_PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "token",
            "api-token",
            "api_key",
            "apikey",
            "API_KEY",
            "apiKey",
            "secret",
            "client_secret",
            "secrets",
            "my.secret",
        ),
        *("password", "passwd", "pwd", "db_password", "PGPASSWORD", "passphrase", "user_pass", "pass", "passcode"),
        *(
            "credential",
            "credentials",
            "auth",
            "auth-header-value",
            "authorization",
            "private",
            "private-key",
            "cookie",
        ),
        *("session-cookie", "dsn", "sentry.dsn", "connection-string", "connectionString", "access_key", "secret-key"),
        *("accessToken", "hf.token", "wandb_api_key", "bearer", "jwt", "slack_webhook", "webhook-url", "oauth"),
        *("api-keys", "openai_key", "WANDB_KEY", "session_id", "PHPSESSID", "dbpass", "shared_secret", "secret-share"),
    ],
)
def test_value_of_a_secret_name_is_hidden(name: str) -> None:
    assert masked(name, "hunter2") == MASK


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lr", 0.1), ("num-server-rounds", 3), ("fraction-train", 0.5), ("seed", 42), ("batch_size", "64")),
        *(
            ("private-data-folder", "/data/private/hospital"),
            ("password_file", "/run/secrets/db"),
            ("token_path", "~/t.json"),
        ),
        *(("gdrive_client_secrets", "/home/ann/client_secrets.json"), ("cookie_dir", "x"), ("secret-name", "db")),
        *(
            ("tokenizer", "bert"),
            ("token-length", 128),
            ("max_tokens", 512),
            ("max_tokens", "512"),
            ("num-tokens", "4"),
        ),
        *(
            ("pad_token", "[PAD]"),
            ("eos_token", "</s>"),
            ("tokens", 128),
            ("token", 7),
            ("author", "Ann"),
            ("authors", "x"),
        ),
        *(
            ("authority", "x"),
            ("secretary", "Ben"),
            ("passes", 3),
            ("forward_pass", "x"),
            ("compass", "north"),
            ("key", "a"),
        ),
        *(("num-secret-shares", 3), ("secret-sharing-threshold", 2), ("is-private", 1), ("dp-lr-private", 0.1)),
        *(
            ("mail", "mailto:ann@x.org"),
            ("keys", "a b"),
            ("session", "morning"),
            ("sort_keys", "x"),
            ("note", "a: b@c"),
        ),
        *(("primary_key", "patient"), ("keyboard", "qwerty"), ("public-key-type", "ed25519"), ("monkey", "business")),
        *(
            ("auth", "none"),
            ("token", ""),
            ("auth", True),
            ("use-auth", False),
            ("password", None),
            ("auth-mode", "basic"),
        ),
        *(
            ("model", "resnet50-imagenet-pretrained-v2-large-2024"),
            ("model", "meta-llama/Llama-3.1-8B-Instruct-GPTQ-Int4"),
        ),
        *(("path", "/home/Ann/Data2024/Hospital1/Images/Scans3D/part-0001"), ("data", "s3://bucket/key/of/an/object")),
        *(
            ("url", "https://host.org:8443/path?page=3"),
            ("image", "registry.org/app@sha256:" + _HEX),
            ("git", "ssh://git@x.org/r"),
        ),
        *(("fingerprint", _HEX), ("commit", _HEX + "00ff00ff"), ("sha", _HEX), ("model-digest", f"sha256:{_HEX}")),
        *(("uuid", "0b6e4f3a-9c1d-4b52-8f6e-2f1c0a7d9e55"), ("run", "8c1d0b6e-4f3a-4b52-8f6e-2f1c0a7d9e55")),
        *(
            ("text", "the token is at the reception"),
            ("note", "basic training of nurses"),
            ("text", "auth: see below" * 0),
        ),
        *(
            ("columns", "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,target_of_the_regression"),
            ("long", "a" * 200),
            ("digits", "1" * 64),
        ),
        *(("emails", "do1@hospital-a.org, do2@hospital-b.org"), ("grid", "[1, 2, 3]"), ("dtype", "float32")),
        *(
            ("date", "2026-11-28T09:30:00.123Z"),
            ("range", "a:b"),
            ("layers", "conv3x3:64,conv3x3:128,pool2x2,conv3x3:256,fc1024"),
        ),
    ],
)
def test_ordinary_value_is_shown(name: str, value: Any) -> None:
    assert masked(name, value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:pw@host.org/x", "https://***@host.org/x"),
        ("https://ghost@host.org/x", "https://***@host.org/x"),
        ("postgresql+psycopg://u:p%40w@db:5432/x", "postgresql+psycopg://***@db:5432/x"),
        ("postgres://u:p@ss@db/x", "postgres://***@db/x"),
        ("postgres://u:p/w@db/x", "postgres://***@db/x"),
        ("redis://:pw@cache:6379/0", "redis://***@cache:6379/0"),
        ("see https://ann:pw@a.org and https://ben:pw@b.org", "see https://***@a.org and https://***@b.org"),
        ("https://host/x?token=abc&page=2", "https://host/x?token=***&page=2"),
        ("https://host/x?sv=1&sig=abc%3D", "https://host/x?sv=1&sig=***"),
        ("https://host/x?X-Amz-Signature=abc&y=1", "https://host/x?X-Amz-Signature=***&y=1"),
        ("https://host/x?access_token=abc#top", "https://host/x?access_token=***#top"),
        ("Server=db;User Id=ann;Password=pw;Timeout=3", "Server=db;User Id=ann;Password=***;Timeout=3"),
        ('{"user": "ann", "password": "p w", "lr": 1}', '{"user": "ann", "password": "***", "lr": 1}'),
        (r"{\"password\": \"hunter2\"}", r'{\"password\": \"***"}'),
        ("env HF_TOKEN=abc python -m app", "env HF_TOKEN=*** python -m app"),
        ("docker run -e API_KEY='a b' image", "docker run -e API_KEY='***' image"),
        ("run --password hunter2 --lr 0.1", "run --password *** --lr 0.1"),
        ("run --api-key=hunter2", "run --api-key=***"),
        (f"Authorization: Bearer {_JWT}", "Authorization: ***"),
        ("Authorization: Token hunter2", "Authorization: ***"),
        ("curl -H 'Cookie: a=b; sid=hunter2' x", "curl -H 'Cookie: ***' x"),
        ("['run', '--password', 'hunter2']", "['run', '--password', '***']"),
        ("run '--password' 'hunter2 x'", "run '--password' '***'"),
        ("ann:hunter2@proxy:3128", "***@proxy:3128"),
        ("SharedAccessSignature=sv=1&sig=abc%3D", "SharedAccessSignature=sv=1&sig=***"),
        ("https://x.org/p;jsessionid=hunter2", "https://x.org/p;jsessionid=***"),
        ("https://hooks.slack.com/services/T0/B0/hunter2", "https://hooks.slack.com/services/***"),
        ("https://discord.com/api/webhooks/12/hunter-2", "https://discord.com/api/webhooks/***"),
        ("GOCSPX-" + "aBcD" * 7, MASK),
        ("1//0g" + "aBcD_" * 7, MASK),
        ("Bearer abc123def456", "Bearer ***"),
        (_JWT, MASK),
        (f"x {_JWT} y", "x *** y"),
        (_PEM, MASK),
        ("AKIAIOSFODNN7EXAMPLE", MASK),
        ("ghp_" + "a1B2" * 9, MASK),
        ("github_pat_" + "a1B2_" * 9, MASK),
        ("glpat-" + "a1B2" * 5, MASK),
        ("sk-proj-" + "a1B2" * 9, MASK),
        ("sk_live_" + "a1B2" * 6, MASK),
        ("xoxb-123456-abcdef", MASK),
        ("AIza" + "a1B2_" * 7, MASK),
        ("hf_" + "aBcD" * 8, MASK),
        (_HEX, MASK),
        (_HEX.upper(), MASK),
        (f"key {_HEX} of x", "key *** of x"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY", MASK),
    ],
)
def test_secret_in_a_text_is_hidden(text: str, shown: str) -> None:
    assert masked("value", text) == shown
    assert masked_text(shown) == shown


@pytest.mark.parametrize("letters", [string.ascii_letters + string.digits, string.ascii_lowercase + string.digits])
def test_random_texts_are_hidden(letters: str) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices(letters, k=40)) for _ in range(300)]
    assert sum(masked("value", text) == MASK for text in texts) >= 297


def test_nested_values_are_masked_by_their_own_names() -> None:
    values = {
        "store": {"user": "ann", "password": "x"},
        "urls": ["https://a:b@c", "d"],
        "secrets": {"a": 1},
        "n": [1, 2],
    }
    assert masked_values(values) == {
        "store": {"user": "ann", "password": MASK},
        "urls": ["https://***@c", "d"],
        "secrets": MASK,
        "n": [1, 2],
    }


def test_number_can_be_a_password() -> None:
    assert (masked("password", 4711), masked("pin-password", 1.5), masked("api_key", 4711)) == (MASK, MASK, MASK)


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "a=",
        "://",
        "a:b@",
        "--a ",
        "&a=",
        "aB1/",
        '"',
        "eyJ.",
        "-",
        "x://a:b",
        "-----BEGIN ",
        "Cookie: ",
        "a:b",
        "--a, '",
    ],
)
def test_long_hostile_text_takes_no_time(part: str) -> None:
    text = (part * 32_768)[:32_768]
    start = time.process_time()
    masked("value", text)
    assert time.process_time() - start < 1.0
