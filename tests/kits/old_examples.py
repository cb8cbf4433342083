"""The example projects of syft-flwr 0.5 from a checkout, with mock data, and stand-ins for packages that download models.

A stand-in is written only for a package that is not installed. The files of the examples are copied and stay unchanged.
"""

import csv
import json
import os
import random
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

#: The folder ``notebooks`` of a checkout of OpenMined/syft-flwr, such as that of v0.5.3.
VARIABLE = "SYFT_FLWR_TEST_OLD_EXAMPLES"

DS, DO1, DO2 = "ds@openmined.org", "do1@openmined.org", "do2@openmined.org"

_COLUMNS = [
    *("Pregnancies", "Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI", "DiabetesPedigreeFunction", "Age"),
    "y",
]
_CORPORA = {
    "statpearls": ["insulin lowers the sugar in blood", "the heart pumps blood", "aspirin thins blood"],
    "textbooks": ["glucose is a sugar", "the lungs take in oxygen", "bones store calcium"],
}
_DIMENSIONS = 384

_PLOTS = """\
class _Anything:
    def __getattr__(self, name):
        return _Anything()

    def __call__(self, *args, **kwargs):
        return _Anything()


def savefig(path, *args, **kwargs):
    open(path, "w").close()


def __getattr__(name):
    return _Anything()
"""
_EMBEDDING = f"""\
import zlib

import numpy as np


class SentenceTransformer:
    def __init__(self, name):
        self.name = name

    def encode(self, text, **options):
        vector = np.zeros({_DIMENSIONS}, dtype="float32")
        for word in text.lower().split():
            vector[zlib.crc32(word.encode()) % {_DIMENSIONS}] += 1
        return vector
"""
#: Modules of packages that are large, or that download data or models, by their path.
_STAND_INS = {
    "flwr_datasets/__init__.py": "class FederatedDataset:\n    pass\n",
    "flwr_datasets/partitioner.py": "class IidPartitioner:\n    pass\n",
    "seaborn.py": _PLOTS,
    "matplotlib/__init__.py": "",
    "matplotlib/pyplot.py": _PLOTS,
    "tqdm.py": "def tqdm(items):\n    return items\n",
    "imblearn/__init__.py": "",
    "imblearn/over_sampling.py": """\
import numpy as np


class SMOTE:
    def __init__(self, random_state, k_neighbors):
        self._random = np.random.default_rng(random_state)

    def fit_resample(self, x, y):
        classes, counts = np.unique(y, return_counts=True)
        rows = [np.arange(len(y))]
        for kind, count in zip(classes, counts):
            rows.append(self._random.choice(np.flatnonzero(y.ravel() == kind), counts.max() - count))
        chosen = np.concatenate(rows)
        return x[chosen], y[chosen]
""",
    "faiss.py": """\
import numpy as np


class Index:
    def __init__(self, vectors):
        self._vectors = vectors

    def search(self, queries, count):
        distances = ((queries[:, None, :] - self._vectors[None]) ** 2).sum(axis=2)
        nearest = distances.argsort(axis=1)[:, :count]
        return np.take_along_axis(distances, nearest, axis=1), nearest


def read_index(path):
    with open(path, "rb") as file:
        return Index(np.load(file))
""",
    "sentence_transformers/__init__.py": _EMBEDDING,
    "sentence_transformers/util.py": "def get_device_name():\n    return 'cpu'\n",
    "transformers.py": """\
import numpy as np


class Ids(np.ndarray):
    def long(self):
        return self


class Inputs:
    def __init__(self, prompt):
        self.input_ids = np.frombuffer(prompt.encode("utf-32-le"), dtype="<u4").view(Ids)

    def to(self, device):
        return self


class AutoTokenizer:
    pad_token_id = 0
    eos_token_id = 0

    @classmethod
    def from_pretrained(cls, name):
        return cls()

    def __call__(self, prompt, **options):
        return Inputs(prompt)

    def decode(self, ids, **options):
        return np.asarray(ids, dtype="<u4").tobytes().decode("utf-32-le") + " A"


class AutoModelForCausalLM:
    @classmethod
    def from_pretrained(cls, name):
        return cls()

    def to(self, device):
        return self

    def generate(self, input_ids, **options):
        return [input_ids]
""",
}
#: For FedRAG only; the training needs the real package.
_TORCH = {
    "torch.py": """\
from types import SimpleNamespace

cuda = SimpleNamespace(is_available=lambda: False)
backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))


def device(name):
    return name
""",
}


def _find_checkout() -> Path | None:
    folder = os.environ.get(VARIABLE, "").strip()
    return Path(folder).absolute() if folder else None


#: The folder of the examples; None if the environment names none. Tests run without the variables of this package.
CHECKOUT = _find_checkout()


def copy_project(examples: Path, name: str, folder: Path) -> Path:
    """Copy one project to a folder of the test; ``name`` is its path below the examples."""
    project = folder / Path(name).name
    shutil.copytree(
        examples / name, project, ignore=shutil.ignore_patterns("main.py", "__pycache__", "simulation_logs")
    )
    return project


def write_stand_ins(folder: Path, *, torch: bool) -> None:
    """Write a stand-in for each package that is not installed; ``torch`` chooses whether torch may be one of them."""
    for path, text in {**_STAND_INS, **(_TORCH if torch else {})}.items():
        if find_spec(path.partition("/")[0].removesuffix(".py")) is None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


def write_diabetes(folder: Path, seed: int) -> Path:
    """Write train.csv and test.csv of one hospital, in the form of the examples' data set."""
    folder.mkdir(parents=True)
    for name, rows in (("train.csv", 60), ("test.csv", 20)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *_patients(random.Random(f"{seed} {name}"), rows)])
    return folder


def _patients(source: random.Random, rows: int) -> Iterator[list[float]]:
    for row in range(rows):
        sick = row % 3 == 0
        glucose = source.randint(120, 190) if sick else source.randint(70, 130)
        rest = [source.randint(50, 90), source.randint(10, 40), source.randint(0, 200)]
        body = [round(source.uniform(20, 40), 1), round(source.uniform(0.1, 1), 3), source.randint(21, 70)]
        yield [source.randint(0, 9), glucose, *rest, *body, int(sick)]


def write_corpus(folder: Path, name: str) -> Path:
    """Write one corpus of FedRAG: an index, the ids of its documents, and the documents."""
    (folder / "chunk").mkdir(parents=True)
    texts = _CORPORA[name]
    scope: dict[str, type] = {}
    exec(_EMBEDDING, scope)
    embedding = scope["SentenceTransformer"]("local")
    with (folder / "faiss.index").open("wb") as file:
        np.save(file, np.stack([embedding.encode(text) for text in texts]))
    np.save(folder / "all_doc_ids.npy", np.array([f"doc_{row}" for row in range(len(texts))]))
    lines = [json.dumps({"title": text.split()[0], "content": text}) for text in texts]
    (folder / "chunk" / "doc.jsonl").write_text("\n".join(lines))
    return folder


def write_questions(path: Path) -> None:
    """Write the benchmark that the server of FedRAG reads."""
    options = {"A": "yes", "B": "no"}
    questions = {
        f"q{number}": {"question": text, "options": options, "answer": "A"}
        for number, text in enumerate(["does insulin change the sugar in blood", "is glucose a sugar"])
    }
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pubmedqa": questions, "bioasq": questions}))
