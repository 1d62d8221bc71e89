"""What the registries of measures do not hold: the definition in full, where the values lie, and whose idea it was."""

from __future__ import annotations

import math
from typing import NamedTuple


class Note(NamedTuple):
    """What is told of one measure beside its registry's own line.

    Attributes:
        source: who defined it.  definition: how it is computed, where the registry's line does not say it.
        low, high: where its values lie, at its defaults.
    """

    source: str
    definition: str = ""
    low: float = 0.0
    high: float = 1.0


OURS = "our own definition"
_CWL = "Moffat, Thomas and Scholer, CIKM 2013; Azzopardi, Thomas and Moffat, SIGIR 2019"
_TREC = "as trec_eval computes it"
_NEAR = "Azzopardi, Mackenzie and Moffat, ICTIR 2021"
_ANY = math.inf

ON_PAGES = {
    "nDCG": Note(
        "Järvelin and Kekäläinen, TOIS 2002",
        "Sum of grade / log2(r + 1) over the places r, over the same sum of all judged results in the order of their "
        "grades. `exp-log2` takes 2^grade - 1 in place of the grade.",
    ),
    "P": Note("van Rijsbergen 1979; " + _TREC, "Relevant results in the first k places, over k."),
    "R": Note(_TREC, "Relevant results in the first k places, over all relevant ones."),
    "RR": Note("Kantor and Voorhees, Information Retrieval 2000", "1 / place of the first relevant result."),
    "AP": Note(
        "Harman, IP&M 1992", "Mean of the precision at the place of each relevant result; those not found count 0."
    ),
    "Success": Note(_TREC, "1 when one of the first k is relevant, else 0."),
    "Judged": Note("ir_measures", "Judged results in the first k places, over how many there are."),
    "BlockNDCG": Note(
        OURS,
        "A block is a longest run of one modality; it gains the largest, the mean or the sum of its grades. Sum "
        "of gain / "
        "log2(b + 1) over the blocks b, over that of the same blocks in their best order.",
    ),
    "HBG": Note(
        "after Luo et al., SIGIR 2017; the form is ours",
        "Sum of grade x 2^-(height scrolled / half). `even` takes the mean interest over a result's height, "
        "`top` that at "
        "its upper edge. Heights are settings (`Heights`: text 1, image 2.5, video 2.5, answer 4).",
        high=_ANY,
    ),
    "nHBG": Note(
        "after Luo et al., SIGIR 2017; the form is ours",
        "HBG over that of the best order of the same results, which is exact.",
    ),
    "RBP": Note(
        "Moffat and Zobel, TOIS 2008",
        "(1 - p) x sum of p^(r - 1) x gain at place r; the gain is grade / `top`, 1 at most, 0 where nobody judged.",
    ),
    "RBPResidual": Note(
        "Moffat and Zobel, TOIS 2008", "How much higher RBP were if all that is unjudged, or beyond the page, gave 1."
    ),
    "AlphaNDCG": Note(
        "Clarke et al., SIGIR 2008",
        "A relevant result gives (1 - alpha)^(relevant ones of its modality above it); discounted by log2(r + "
        "1), over the "
        "best order of the page.",
    ),
    "ERRIA": Note(
        "Chapelle et al., Information Retrieval 2011; Clarke et al., WSDM 2011",
        "The same gains over the place r; over what k results would give that were each relevant in every modality "
        "(`bound`), or over the best order of the page (`ideal`).",
    ),
    "BadCase": Note(
        OURS,
        "1 for a page with a judged result of grade `bad` or less within k while one better by `by` stands "
        "below k (`cut`) "
        "or below the bad one (`item`); else 0. The mean is the rate of bad cases.",
    ),
    "PairAccuracy": Note(
        OURS,
        "Of two results that people graded differently, how often the better one stands first; a share of all "
        "such pairs.",
    ),
    "ExposureGap": Note(
        OURS,
        "Place r of the first k is seen with weight 1 / log2(r + 1). Half the sum over modalities of the "
        "difference between "
        "the share of attention that is given and that in the order of the grades.",
    ),
    "Exposure": Note(
        "weights as in Singh and Joachims, KDD 2018",
        "The modality's share of the weights 1 / log2(r + 1) of the first k.",
    ),
    "IdealExposure": Note(
        "weights as in Singh and Joachims, KDD 2018",
        "The same in the order of the grades; equal grades share the places they fill.",
    ),
    "TauAP": Note(
        "Yilmaz, Aslam and Robertson, SIGIR 2008",
        "For each result but the first of its modality: the share of those above it that its ranker put above "
        "it, too; the "
        "mean, times 2, less 1.",
        low=-1.0,
    ),
    "WeightedTau": Note(
        "Vigna, WWW 2015",
        "Kendall's tau in which a pair of ranks a, b (from 0) weighs 1/(a + 1) + 1/(b + 1); the mean by either list",
        low=-1.0,
    ),
    "RBO": Note(
        "Webber, Moffat and Zobel, TOIS 2010",
        "(1 - p) x sum over depths d of p^(d - 1) x overlap of the two first d, over d; carried on as at the end.",
    ),
    "Inverted": Note(
        OURS, "Pairs of one modality that stand the other way round than its own ranker put them, over all such pairs."
    ),
    "HelpfulInversions": Note(
        OURS, "Of the inverted pairs with two different grades, those where the better one is now above."
    ),
    "CWL.P": Note(_CWL),
    "CWL.SDCG": Note(_CWL, "Goes on from place i with log(i + 1) / log(i + 2); stops at k."),
    "CWL.RBP": Note("Moffat and Zobel, TOIS 2008; " + _CWL),
    "CWL.INST": Note(
        "Moffat, Bailey, Scholer and Thomas, ADCS 2015",
        "Goes on from place i with ((i + T + m - 1) / (i + T + m))^2, where m of T is still missing.",
    ),
    "CWL.INSQ": Note("Moffat, Scholer and Thomas, ADCS 2012", "Goes on from place i with ((i + 2T - 1) / (i + 2T))^2."),
    "CWL.RR": Note(_CWL),
    "CWL.AP": Note(_CWL, "Stops at one of the results with gain, each as likely; knows of none beyond the page."),
    "CWL.BPM": Note("Zhang et al., SIGIR 2017"),
    "CWL.IFT": Note(
        "Azzopardi, Thomas and Craswell, SIGIR 2018",
        "Goes on with the product of two logistic curves: of T less what was gained, and of what was gained for "
        "each unit "
        "spent, less A.",
    ),
    "CWL.TBG": Note("Smucker and Clarke, SIGIR 2012", "Goes on with 2^-(cost / half)."),
}
"""By the names of ``page_measures``."""

BY_IR_MEASURES = {
    "Accuracy": Note("ir_measures"),
    "AP": Note("Harman, IP&M 1992"),
    "BPM": Note("Zhang et al., SIGIR 2017"),
    "Bpref": Note("Buckley and Voorhees, SIGIR 2004"),
    "Compat": Note("Clarke, Vtyurina and Smucker, TOIS 2021"),
    "ERR": Note("Chapelle et al., CIKM 2009"),
    "infAP": Note("Yilmaz and Aslam, CIKM 2006"),
    "INSQ": Note("Moffat, Scholer and Thomas, ADCS 2012"),
    "INST": Note("Moffat, Bailey, Scholer and Thomas, ADCS 2015"),
    "IPrec": Note(_TREC),
    "Judged": Note("ir_measures"),
    "nDCG": Note("Järvelin and Kekäläinen, TOIS 2002"),
    "NERR8": Note(_NEAR),
    "NERR9": Note(_NEAR),
    "NERR10": Note(_NEAR),
    "NERR11": Note(_NEAR),
    "NumQ": Note(_TREC, high=_ANY),
    "NumRel": Note(_TREC, high=_ANY),
    "NumRet": Note(_TREC, high=_ANY),
    "P": Note("van Rijsbergen 1979"),
    "R": Note(_TREC),
    "Rprec": Note("Buckley and Voorhees 2005"),
    "RR": Note("Kantor and Voorhees, Information Retrieval 2000"),
    "SDCG": Note("Moffat, Thomas and Scholer, CIKM 2013"),
    "SetAP": Note(_TREC),
    "SetF": Note(_TREC),
    "SetP": Note(_TREC),
    "SetR": Note(_TREC),
    "Success": Note(_TREC),
}
"""By the names of ir_measures."""
