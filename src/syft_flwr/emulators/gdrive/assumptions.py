"""What is not known of the real service, as switches; the conformance suite can tell how they should stand."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Answers to open questions.

    Attributes:
        ids_are_personal: an id can be used only by the account that it was generated for.
        ids_are_spent: an id cannot be used again after its file was deleted.
        unreserved_ids_are_refused: an id that was not generated is refused.
        search_shows_shared_children: a search without ``parents`` finds what lies in a folder shared with the user.
        changes_show_shared_children: so do changes.
        readers_see_trashed: what its owner trashed can still be read by others.
        large_pages_are_refused: a ``pageSize`` above the maximum is refused, as reported; not lowered to the maximum, as
            the description of 2026 says.
    """

    ids_are_personal: bool = True
    ids_are_spent: bool = True
    unreserved_ids_are_refused: bool = True
    search_shows_shared_children: bool = True
    changes_show_shared_children: bool = True
    readers_see_trashed: bool = True
    large_pages_are_refused: bool = True
