"""Shares of a budget: no number of greedy peers leaves nothing for another one."""

import pytest

from syft_flwr.shares import MOST_PEERS, FairShares, leaves_shares

RESERVED = 10
TOTAL = 2 * MOST_PEERS * RESERVED
#: The most that one peer can have: its reserved share, and a ninth of the common half.
MOST = RESERVED + TOTAL // 2 // 9


def used_up(shares: FairShares, peer: str) -> int:
    """Return how often a peer can take one more."""
    return next(count for count in range(TOTAL + 1) if not shares.take(peer))


def test_one_greedy_peer_gets_a_part() -> None:
    assert used_up(FairShares(TOTAL), "greedy") == MOST


@pytest.mark.parametrize("greedy", [1, 64, MOST_PEERS - 1])
def test_peer_after_any_flood_gets_its_reserved_share(greedy: int) -> None:
    shares = FairShares(TOTAL)
    used = sum(used_up(shares, f"greedy {number}") for number in range(greedy))

    honest = used_up(shares, "honest")

    assert honest >= RESERVED
    assert used + honest <= TOTAL


def test_more_peers_than_shares_do_not_exceed_the_budget() -> None:
    shares = FairShares(TOTAL)

    used = [used_up(shares, str(number)) for number in range(2 * MOST_PEERS)]

    assert sum(used) <= TOTAL
    assert min(used[:MOST_PEERS]) == RESERVED


def test_returned_amount_can_be_used_again() -> None:
    shares = FairShares(TOTAL)
    for _ in range(3):
        assert used_up(shares, "greedy") == MOST
        for _ in range(MOST):
            shares.give_back("greedy")

    assert all(shares.take(str(number), RESERVED) for number in range(MOST_PEERS))


def test_noted_amount_counts_beyond_the_share() -> None:
    shares = FairShares(TOTAL)

    shares.note("earlier", 2 * TOTAL)

    assert not shares.take("earlier")
    assert used_up(shares, "honest") == RESERVED


def test_noted_amount_counts_like_a_used_one() -> None:
    shares = FairShares(TOTAL)

    shares.note("earlier", MOST - 3)

    assert used_up(shares, "earlier") == 3


def test_refused_amount_uses_nothing() -> None:
    shares = FairShares(TOTAL)

    assert not shares.take("greedy", TOTAL)

    assert used_up(shares, "greedy") == MOST


@pytest.mark.parametrize(("amount", "others"), [(100, []), (90, [0]), (95, [5]), (100, [10, 50]), (80, [0, 0])])
def test_further_amount_leaves_the_unused_shares(amount: int, others: list[int]) -> None:
    assert leaves_shares(amount, free=100, share=10, others=others)
    assert not leaves_shares(amount + 1, free=100, share=10, others=others)
