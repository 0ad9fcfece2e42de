"""Remembers which files passed a slow check, by content, so that only what changed is checked again."""

import hashlib
import json

import tree


class CleanCache:
    """One check's set of digests that passed. `basis` is what the verdict also depends on (options, versions)."""

    def __init__(self, check, basis):
        self.path_ = tree.ROOT / "build/clean" / f"{check}.json"
        self.basis_ = basis
        try:
            self.known_ = set(json.loads(self.path_.read_text()))
        except (OSError, ValueError):
            self.known_ = set()
        self.current_ = set()

    def digest(self, *paths):
        sum_ = hashlib.sha256(self.basis_.encode())
        for path in paths:
            sum_.update(path.encode() + b"\0" + (tree.ROOT / path).read_bytes())
        return sum_.hexdigest()

    def is_clean(self, digest):
        if digest in self.known_:
            self.current_.add(digest)
        return digest in self.known_

    def add(self, digest):
        self.current_.add(digest)

    def save(self, keep_others=False):
        """Keeps the digests met in this run, so the file does not grow for ever; after a run over a part, the others too."""
        if keep_others:
            self.current_ |= self.known_
        self.path_.parent.mkdir(parents=True, exist_ok=True)
        self.path_.write_text(json.dumps(sorted(self.current_)))
