"""Switches for behaviour of Drive that Google does not document; a run of the conformance suite can settle them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions about the real service.

    Attributes:
        ids_are_personal: only the account that generated an id can use it.
        ids_are_spent: an id cannot be used again after its file was deleted.
        unreserved_ids_are_refused: Drive refuses an id that was not generated.
        search_shows_shared_children: a search without ``parents`` finds files in a folder shared with the user.
        changes_show_shared_children: the change log of the user includes files in a folder shared with the user.
        readers_see_trashed: other users can still read a file in the owner's trash.
        large_pages_are_refused: Drive refuses a ``pageSize`` above the maximum, as users report. If False, it lowers
            the value to the maximum, as the description of 2026 says.
    """

    ids_are_personal: bool = True
    ids_are_spent: bool = True
    unreserved_ids_are_refused: bool = True
    search_shows_shared_children: bool = True
    changes_show_shared_children: bool = True
    readers_see_trashed: bool = True
    large_pages_are_refused: bool = True
