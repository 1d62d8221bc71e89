"""The words of the generated world: queries, texts by people, answers by a language model.

Every value is called by one of its phrases, chosen anew each time, so that a query and a text about the same thing
often share few words; texts name other things too, and answers repeat the query's words without standing by them.
"""

from __future__ import annotations

import numpy as np

from wholepage.collections.synthetic_world import ATTRIBUTES, WORDS, Thing, other_value, pick, plural

_ADJECTIVES = ("size", "colour", "pattern")
_UNNAMED = ("thing", "figure", "object", "mark")

_QUERIES = ("{it}", "{it}", "{it}", "show me {it}", "looking for {it}", "where are {it}", "find {it} please")
_OPENINGS = (
    "The panel shows {it}.",
    "On display: {it}.",
    "Catalogue entry {number}: {it}.",
    "{It}, printed for the spring fair.",
    "A reader sent in {it}.",
    "Seen in the workshop last week: {it}.",
    "This sheet carries {it}.",
    "Sketchbook, leaf {number}, has {it}.",
)
_FILLERS = (
    "The paper is slightly worn.",
    "Signed on the back.",
    "From a private collection.",
    "Restored some years ago.",
    "The maker is unknown.",
    "Shipping takes a few days.",
)
_COMPARISONS = (
    "Not to be confused with {other}.",
    "{Other} hung beside it last year.",
    "An earlier state had {other} instead.",
    "The same hand also made {other}.",
)
_ANSWERS = (
    "Based on the results, this is {it}.",
    "The best match describes {it}.",
    "I found {it} among the results.",
    "In short: {it}.",
    "According to the sources, we are looking at {it}.",
)
_SURE = ("This is definitely what you asked for.", "There is no doubt about it.", "I went through every detail.")
_POLITE = ("Let me know if you need more.", "I hope this helps.", "See the results for details.")
_HEDGES = (
    "I could not confirm that any result shows {asked}.",
    "It is possible that there are {asked}, but the sources do not say.",
    "As a language model I cannot be certain whether this is {asked}.",
    "There is not enough information about {asked} to answer.",
)


def query_text(asked: Thing, rng: np.random.Generator) -> str:
    """The query's words: everything asked and nothing else."""
    return pick(_QUERIES, rng).format(it=_phrase(asked, asked.get("count") != "one", rng))


def told(thing: Thing, said: Thing, asked: Thing, noise: float, rng: np.random.Generator) -> str:
    """A text about ``thing`` that says ``said`` of it, and that may name something else for comparison.

    The thing of comparison often has what the query asks for and the thing has not.
    """
    sentences = _sentences(_OPENINGS, said, thing["count"] != "one", rng)
    if rng.random() < 0.35 * noise:
        elsewhere = _another(thing, asked, rng)
        other = _phrase(elsewhere, elsewhere.get("count") != "one", rng)
        sentences.append(pick(_COMPARISONS, rng).format(other=other, Other=_capital(other)))
    if rng.random() < 0.4:
        sentences.append(pick(_FILLERS, rng))
    return " ".join(sentences)


def answered(claims: Thing, is_many: bool, sureness: float, rng: np.random.Generator) -> str:
    """An answer that claims ``claims``, of several things or of one; with probability ``sureness`` it boasts."""
    sentences = _sentences(_ANSWERS, claims, is_many, rng)
    sentences.append(pick(_SURE if rng.random() < sureness else _POLITE, rng))
    return " ".join(sentences)


def hedged(asked: Thing, rng: np.random.Generator) -> str:
    """An answer that repeats what was asked and claims nothing."""
    return pick(_HEDGES, rng).format(asked=_phrase(asked, asked.get("count") != "one", rng))


def _sentences(openings: tuple[str, ...], said: Thing, is_many: bool, rng: np.random.Generator) -> list[str]:
    """One sentence with everything, or a second one with some of the adjectives and the background."""
    later = {name: said[name] for name in (*_ADJECTIVES, "background") if name in said and rng.random() < 0.25}
    first = {name: value for name, value in said.items() if name not in later}
    it = _phrase(first, is_many, rng)
    sentences = [pick(openings, rng).format(it=it, It=_capital(it), number=int(rng.integers(10, 1000)))]
    if later:
        said_later = " and ".join(pick(WORDS[name][value], rng) for name, value in later.items())
        sentences.append(f"{'They are' if is_many else 'It is'} {said_later}.")
    return sentences


def _phrase(said: Thing, is_many: bool, rng: np.random.Generator) -> str:
    parts = []
    if "count" in said:
        parts.append(pick(WORDS["count"][said["count"]], rng))
    elif not is_many:
        parts.append("the")
    parts += [pick(WORDS[name][said[name]], rng) for name in _ADJECTIVES if name in said]
    noun = pick(WORDS["shape"][said["shape"]], rng) if "shape" in said else pick(_UNNAMED, rng)
    # The claimed number rules the noun, true or not.
    parts.append(plural(noun) if said.get("count", "two" if is_many else "one") != "one" else noun)
    if "background" in said:
        parts.append(pick(WORDS["background"][said["background"]], rng))
    return " ".join(parts)


def _another(thing: Thing, asked: Thing, rng: np.random.Generator) -> Thing:
    """Two or three attributes of something that is not ``thing``."""
    names = [name for name in ATTRIBUTES if name in asked or rng.random() < 0.2][:3]
    another = {
        name: asked[name] if name in asked and rng.random() < 0.7 else pick(ATTRIBUTES[name], rng) for name in names
    }
    if all(thing[name] == value for name, value in another.items()):
        changed = pick(names, rng)
        another[changed] = other_value(changed, thing[changed], rng)
    return another


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
