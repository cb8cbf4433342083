"""Random actions of two users: files, rights and changes must agree with a small model of Drive."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest
from syft_flwr.emulators.gdrive.records import FOLDER
from syft_flwr.emulators.gdrive.routes import route
from syft_flwr.emulators.gdrive.service import Service
from syft_flwr.emulators.gdrive.tokens import FULL
from syft_flwr.testing import FakeClock

# Two users only: with more of them, actions in a folder of another user would be rare.
USERS = ["a@x.org", "b@x.org"]
_FIELDS = "id,version,trashed,ownedByMe,parents,capabilities(canEdit,canDelete)"
_RANK = {"reader": 1, "writer": 3, "owner": 4}


class Model:
    """The expected state: the owner, the folder and the grants of each file."""

    def __init__(self) -> None:
        self.owner: dict[str, str] = {}
        self.parent: dict[str, str] = {}
        self.folders: set[str] = set()
        self.granted: dict[str, dict[str, int]] = {}
        self.trashed: set[str] = set()
        self.roots: dict[str, str] = {}

    def above(self, file_id: str) -> list[str]:
        """Return the file and the folders above it."""
        chain = [file_id]
        while (parent := self.parent.get(chain[-1])) and parent in self.owner:
            chain.append(parent)
        return chain

    def rank(self, user: str, file_id: str) -> int:
        """Return the access of a user: 0 for none, 1 for a reader, 3 for a writer, 4 for the owner."""
        if file_id not in self.owner:
            return 0
        if self.owner[file_id] == user:
            return 4
        chain = self.above(file_id)
        owns_above = any(self.owner[each] == user for each in chain)
        return max(3 if owns_above else 0, *(self.granted[each].get(user, 0) for each in chain))

    def below(self, file_id: str) -> list[str]:
        return [each for each in self.owner if file_id in self.above(each)]

    def delete(self, file_id: str) -> None:
        owner = self.owner[file_id]
        doomed = {each for each in self.below(file_id) if self.owner[each] == owner}
        for each in self.owner:
            if each not in doomed and self.parent.get(each) in doomed:
                self.parent[each] = self.roots[self.owner[each]]
        for each in doomed:
            del self.owner[each]


class Drives(RuleBasedStateMachine):
    files = Bundle("files")

    @initialize()
    def begin(self) -> None:
        self.service = Service(FakeClock(), 0, Assumptions())
        self.model = Model()
        self.tokens: dict[str, str] = {}
        self.replicas: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        self.cursors: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            for user in USERS:
                self.service.drive.add_account(user)
                self.service.tokens.write(user, Path(folder) / user, FULL, "client")
                self.tokens[user] = json.loads((Path(folder) / user).read_text())["token"]
        for user in USERS:
            root = self.ask(user, "GET", "/files/root", {"fields": "id"})[1]["id"]
            self.model.roots[user] = root
            self.cursors[user] = self.ask(user, "GET", "/changes/startPageToken")[1]["startPageToken"]

    def ask(
        self, user: str, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, Any]:
        content = json.dumps(body).encode() if body else b""
        headers = {"authorization": f"Bearer {self.tokens[user]}"}
        request = ReceivedRequest(method, f"/drive/v3{path}", dict(query or {}), headers, content)
        found = route(method, request.path, request.query, headers)
        reply = self.service.answer(request, found, self.service.call(request, found)).reply
        return reply.status, json.loads(reply.body) if reply.body else None

    def expect(self, status: int, user: str, file_id: str, needed: int) -> bool:
        """Check an HTTP status against the rank that the action needs; return whether the action is allowed."""
        rank = self.model.rank(user, file_id)
        assert status == (404 if not rank else 403 if rank < needed else status)
        assert (status < 300) == (rank >= needed)
        return rank >= needed

    @rule(target=files, user=st.sampled_from(USERS), is_folder=st.booleans())
    def make_in_root(self, user: str, is_folder: bool) -> str:
        return self.make(user, self.model.roots[user], is_folder)

    @rule(target=files, user=st.sampled_from(USERS), parent=files, is_folder=st.booleans())
    def make_below(self, user: str, parent: str, is_folder: bool) -> str:
        if parent not in self.model.folders or self.model.rank(user, parent) < 3:
            return self.make(user, self.model.roots[user], is_folder)
        return self.make(user, parent, is_folder)

    @rule(target=files, owner=st.sampled_from(USERS), is_folder=st.booleans())
    def make_in_a_folder_of_the_other(self, owner: str, is_folder: bool) -> Any:
        (other,) = set(USERS) - {owner}
        folder = self.make(owner, self.model.roots[owner], is_folder=True)
        self.grant(owner, folder, other, "writer")
        return multiple(folder, self.make(other, folder, is_folder))

    def make(self, user: str, parent: str, is_folder: bool) -> str:
        body = {"name": "x", "parents": [parent], **({"mimeType": FOLDER} if is_folder else {})}
        status, made = self.ask(user, "POST", "/files", body=body)
        assert status == 200
        self.model.owner[made["id"]] = user
        self.model.parent[made["id"]] = parent
        self.model.granted[made["id"]] = {}
        if is_folder:
            self.model.folders.add(made["id"])
        return made["id"]

    @rule(
        user=st.sampled_from(USERS),
        file_id=files,
        to=st.sampled_from(USERS),
        role=st.sampled_from(["reader", "writer"]),
    )
    def grant(self, user: str, file_id: str, to: str, role: str) -> None:
        body = {"type": "user", "role": role, "emailAddress": to}
        status, _ = self.ask(user, "POST", f"/files/{file_id}/permissions", {"sendNotificationEmail": "false"}, body)
        if self.expect(status, user, file_id, 3) and self.model.owner[file_id] != to:
            granted = self.model.granted[file_id]
            granted[to] = max(granted.get(to, 0), _RANK[role])

    @rule(user=st.sampled_from(USERS), file_id=files, of=st.sampled_from(USERS))
    def withdraw(self, user: str, file_id: str, of: str) -> None:
        permission = self.service.drive.accounts[of].permission_id
        status, _ = self.ask(user, "DELETE", f"/files/{file_id}/permissions/{permission}")
        granted = self.model.granted.get(file_id, {})
        if status == 204:
            assert self.model.rank(user, file_id) >= (1 if user == of else 3)
            assert of in granted
            del granted[of]
        elif of in granted:
            assert self.model.rank(user, file_id) < (1 if user == of else 3)

    @rule(user=st.sampled_from(USERS), file_id=files, folder=files)
    def move(self, user: str, file_id: str, folder: str) -> None:
        model = self.model
        if folder not in model.folders or model.rank(user, folder) < 3 or folder in model.below(file_id):
            return
        parent = model.parent[file_id]
        query = {"addParents": folder, "removeParents": parent}
        status, _ = self.ask(user, "PATCH", f"/files/{file_id}", query, {})
        rank, place = model.rank(user, file_id), 4 if model.owner.get(file_id) == user else 0
        if rank >= 3 and not place and parent != folder:
            place = model.rank(user, parent) if parent in model.owner else 0
        if rank >= 3 and (place >= 3 or parent == folder):
            assert status == 200
            model.parent[file_id] = folder
        else:
            assert status in {403, 404}

    @rule(user=st.sampled_from(USERS), file_id=files, trashed=st.booleans())
    def trash(self, user: str, file_id: str, trashed: bool) -> None:
        status, _ = self.ask(user, "PATCH", f"/files/{file_id}", body={"trashed": trashed})
        if self.expect(status, user, file_id, 4):
            (self.model.trashed.add if trashed else self.model.trashed.discard)(file_id)

    @rule(user=st.sampled_from(USERS), file_id=files)
    def rename(self, user: str, file_id: str) -> None:
        status, _ = self.ask(user, "PATCH", f"/files/{file_id}", body={"name": "y"})
        self.expect(status, user, file_id, 3)

    @rule(user=st.sampled_from(USERS), file_id=files)
    def delete(self, user: str, file_id: str) -> None:
        status, _ = self.ask(user, "DELETE", f"/files/{file_id}")
        if self.expect(status, user, file_id, 4):
            self.model.delete(file_id)

    @invariant()
    def everyone_sees_what_the_model_says(self) -> None:
        for user in USERS if hasattr(self, "model") else ():
            seen = self.listed(user)
            model = self.model
            assert seen.keys() == {file_id for file_id in model.owner if model.rank(user, file_id)}
            for file_id, file in seen.items():
                rank, chain = model.rank(user, file_id), model.above(file_id)
                assert file["trashed"] == any(each in model.trashed for each in chain)
                assert file["capabilities"] == {"canEdit": rank >= 3, "canDelete": rank == 4}
                parent = model.parent[file_id]
                shown = parent == model.roots[user] or model.rank(user, parent) > 0
                assert file.get("parents") == ([parent] if shown else None)

    @invariant()
    def changes_tell_everyone_all_of_it(self) -> None:
        for user in USERS if hasattr(self, "model") else ():
            query = {
                "pageToken": self.cursors[user],
                "fields": f"newStartPageToken,changes(removed,fileId,file({_FIELDS}))",
            }
            _, page = self.ask(user, "GET", "/changes", query)
            self.cursors[user] = page["newStartPageToken"]
            replica = self.replicas[user]
            for change in page["changes"]:
                if change["removed"]:
                    replica.pop(change["fileId"], None)
                else:
                    replica[change["fileId"]] = change["file"]
            assert replica == self.listed(user)

    def listed(self, user: str) -> dict[str, Any]:
        query = {"q": "trashed = true or trashed = false", "fields": f"files({_FIELDS})", "pageSize": "1000"}
        return {file["id"]: file for file in self.ask(user, "GET", "/files", query)[1]["files"]}


TestDrives = Drives.TestCase
TestDrives.settings = settings(max_examples=30, stateful_step_count=35)
