"""BM25 over passages and file names with SQLite's FTS5, bounded in time, scaled to 0..1.

The score of a passage D for the query terms t is Robertson and Zaragoza's (2009, "The
Probabilistic Relevance Framework: BM25 and Beyond", eq. 3.15) as SQLite computes it
(https://sqlite.org/fts5.html#the_bm25_function; k1 = 1.2, b = 0.75), divided by what no passage
can exceed::

    sum_t idf(t) * f(t,D) (k1 + 1) / (f(t,D) + k1 (1 - b + b |D| / avgdl))
    ----------------------------------------------------------------------
                        sum_t idf(t) * (k1 + 1)

    idf(t) = ln((N - n(t) + 0.5) / (n(t) + 0.5)), at least 1e-6

The bound counts every distinct term of the query, found or not. So a passage that holds only the
commonest word of a query scores near 0, and scores of different queries compare.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmsearch.store.tokens import words

K1 = 1.2
_MIN_IDF = 1e-6  # FTS5's floor, for terms in at least half of the passages
_MAX_TERMS = 32  # the rarest of a long query; each costs a pass over its postings
_MAX_QUERY_CHARS = 10_000
MAX_SCORED = 20_000
"""Passages scored by one statement: FTS5 takes about 2.5 µs each (`benchmarks/where.py`)."""

_PENDING_BYTES = 16 * 2**20
_PIECE_CHARS = 16 * 2**20

SCHEMA = (
    "CREATE VIRTUAL TABLE passage USING fts5(words, tokenize = 'porter ascii')",
    # What FTS5 gathers in memory before it writes a part of its index, which it merges later on; by
    # default 1 MiB.
    f"INSERT INTO passage(passage, rank) VALUES ('hashsize', {_PENDING_BYTES})",
    # In how many passages a term is. FTS5 could say, after a walk through all its postings.
    "CREATE TABLE term (term TEXT PRIMARY KEY, passages INTEGER NOT NULL) WITHOUT ROWID",
)
_EACH = "SELECT CAST(key AS INTEGER), value FROM json_each(?)"
"""Rows of (id, text) from a JSON object: one statement for all, during which other threads run."""
_STEMMER = (
    "CREATE VIRTUAL TABLE temp.stem USING fts5(words, content = '', tokenize = 'porter ascii')",
    f"INSERT INTO temp.stem(stem, rank) VALUES ('hashsize', {_PENDING_BYTES})",
    "CREATE VIRTUAL TABLE temp.stem_term USING fts5vocab(temp, stem, row)",
    "CREATE VIRTUAL TABLE temp.stem_place USING fts5vocab(temp, stem, instance)",
)


@dataclass(frozen=True, slots=True)
class _Term:
    """A word of a query, its stem's document frequency and its weight."""

    word: str
    passages: int
    idf: float


def add_passages(connection: sqlite3.Connection, passages: Mapping[int, str]) -> None:
    """Insert passages (words between spaces) under their chunk ids, and count their terms."""
    # FTS5 writes out what it has gathered whenever an id is lower than the one before.
    for piece in _pieces(sorted(passages.items())):
        texts = json.dumps(piece, ensure_ascii=False)
        connection.execute(f"INSERT INTO passage(rowid, words) {_EACH}", (texts,))
        _count(connection, texts, len(piece))


def remove_passages(connection: sqlite3.Connection, spans: Iterable[tuple[int, int]]) -> None:
    """Remove the passages whose ids lie in some spans (first and last), and their counts."""
    passages: dict[int, str] = {}
    for span in spans:
        within = "FROM passage WHERE rowid BETWEEN ? AND ?"
        passages.update(connection.execute(f"SELECT rowid, words {within}", span))
        connection.execute(f"DELETE {within}", span)
    for piece in _pieces(passages.items()):
        _count(connection, json.dumps(piece, ensure_ascii=False), -len(piece))


def _pieces(passages: Iterable[tuple[int, str]]) -> Iterator[Mapping[int, str]]:
    """The same passages, some at a time: SQLite takes no text of more than a billion bytes."""
    piece, chars = {}, 0
    for chunk_id, text in passages:
        piece[chunk_id] = text
        chars += len(text)
        if chars > _PIECE_CHARS:
            yield piece
            piece, chars = {}, 0
    if piece:
        yield piece


def _count(connection: sqlite3.Connection, texts: str, change: int) -> None:
    """Keep the number of passages, and of passages per term, up to date.

    Args:
        connection: Inside a transaction.
        texts: The passages that are new or gone, as a JSON object.
        change: How many passages there are more; negative when they are gone.
    """
    _fill_stemmer(connection, texts)
    connection.execute(
        "INSERT INTO term SELECT term, ? * doc FROM temp.stem_term WHERE true"
        " ON CONFLICT DO UPDATE SET passages = passages + excluded.passages",
        (1 if change > 0 else -1,),
    )
    if change < 0:
        connection.execute(
            "DELETE FROM term WHERE passages <= 0 AND term IN (SELECT term FROM temp.stem_term)"
        )
    connection.execute("UPDATE state SET passages = passages + ?", (change,))


def _fill_stemmer(connection: sqlite3.Connection, texts: str) -> None:
    """Index a JSON object of texts in memory: what FTS5 makes of words is asked of FTS5."""
    if not connection.execute("SELECT 1 FROM temp.sqlite_schema LIMIT 1").fetchone():
        for statement in _STEMMER:
            connection.execute(statement)
    connection.execute("INSERT INTO temp.stem(stem) VALUES ('delete-all')")
    connection.execute(f"INSERT INTO temp.stem(rowid, words) {_EACH}", (texts,))


def rank(
    connection: sqlite3.Connection, query: str, limit: int, n_passages: int, chunks: range
) -> list[tuple[int, float]]:
    """The passages that match a query best, as (chunk id, score), best first.

    Any of the query's terms makes a match. To bound the time on large indexes:

    * terms in at least half of the passages carry no weight, and are dropped unless the query has
      no others;
    * the rarest terms lead: a passage must hold one of them. The others count only beside them,
      once the leading ones are in more than ``MAX_SCORED`` passages together;
    * of a single word in more than ``MAX_SCORED`` passages, that many are scored.
    """
    terms = _query_terms(connection, query, n_passages)
    bound = (K1 + 1) * sum(term.idf for term in terms)
    leading, following = _split([term for term in terms if term.passages])
    if not leading or limit < 1:
        return []
    found = dict(_scored(connection, _any_of(leading), limit, chunks))
    if following:
        both = f"({_any_of(leading)}) AND ({_any_of(following)})"
        # A passage with terms of both kinds gets the fuller score; one that lacks the following
        # terms already has it. So the merged head is that of scoring every leading passage.
        found.update(_scored(connection, both, limit, chunks))
    best = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return [(chunk_id, min(score / bound, 1.0)) for chunk_id, score in best]


def _query_terms(connection: sqlite3.Connection, query: str, n_passages: int) -> list[_Term]:
    """The query's distinct stems, rarest first, those that are nowhere in front."""
    distinct = list(dict.fromkeys(words(query[:_MAX_QUERY_CHARS])))
    _fill_stemmer(connection, json.dumps(dict(enumerate(distinct)), ensure_ascii=False))
    stems = connection.execute("SELECT DISTINCT term, doc FROM temp.stem_place ORDER BY doc DESC")
    word_of: Mapping[str, str] = {stem: distinct[place] for stem, place in stems}
    counts = dict.fromkeys(word_of, 0)
    marks = ",".join("?" * len(counts))
    counts |= connection.execute(
        f"SELECT term, passages FROM term WHERE term IN ({marks})", tuple(counts)
    )
    if any(type(n) is not int or not 0 <= n <= n_passages for n in counts.values()):
        raise sqlite3.DatabaseError("the count of a term is wrong")
    terms = [_Term(word_of[s], n, _idf(n, n_passages)) for s, n in counts.items()]
    return sorted(terms, key=lambda term: (term.passages, term.word))


def _idf(passages: int, n_passages: int) -> float:
    return max(math.log((n_passages - passages + 0.5) / (passages + 0.5)), _MIN_IDF)


def _split(present: Sequence[_Term]) -> tuple[list[_Term], list[_Term]]:
    """Terms that a passage must hold one of, and those that only add to its score."""
    weighty = [term for term in present if term.idf > _MIN_IDF] or list(present)
    weighty = weighty[:_MAX_TERMS]
    total = 0
    for i, term in enumerate(weighty):
        total += term.passages
        if i and total > MAX_SCORED:
            return weighty[:i], weighty[i:]
    return weighty, []


def _any_of(terms: Iterable[_Term]) -> str:
    """An FTS5 expression; words hold letters, digits and marks only, and quotes make them data."""
    return " OR ".join(f'"{term.word}"' for term in terms)


def _scored(
    connection: sqlite3.Connection, expression: str, limit: int, chunks: range
) -> list[tuple[int, float]]:
    found = connection.execute(
        "SELECT id, score FROM (SELECT rowid AS id, -bm25(passage) AS score FROM passage"
        " WHERE passage MATCH ? AND rowid >= ? AND rowid < ? LIMIT ?)"
        " ORDER BY score DESC, id LIMIT ?",
        (expression, chunks.start, chunks.stop, MAX_SCORED, limit),
    ).fetchall()
    if any(type(score) is not float for _, score in found):
        raise sqlite3.DatabaseError("a score is not a number")
    return found
