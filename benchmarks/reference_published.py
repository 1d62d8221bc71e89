"""Figures that others published for the very files at hand, and where they did. Only what is certain stands here.

All are nDCG@10 of TREC Deep Learning's passages, 2019 and 2020, with all of NIST's judgments.
"""

from __future__ import annotations

PYSERINI = "Pyserini, two-click reproductions of MS MARCO V1 passage (pyserini/2cr/msmarco-v1-passage.yaml)"
RANK_LLM = "castorini/rank_llm, trec_eval_aggregated_results.jsonl; RankVicuna, arXiv 2309.15088"
FIRST_STAGES: dict[str, tuple[float, float] | None] = {  # name of the run: nDCG@10 of 2019 and 2020
    "BM25": (0.5058, 0.4796),
    "BM25_RM3": (0.5216, 0.4896),
    "D_BERT_KD_TASB": (0.7210, 0.6854),
    "OPEN_AI_ADA2": (0.7035, 0.6759),
    "SPLADE_P_P_ENSEMBLE_DISTIL": (0.7308, 0.7197),
    "REP_LLAMA": None,  # none that is certain for this list
}
RANK_VICUNA: dict[str, tuple[float, float]] = {
    "BM25": (0.6682, 0.6549),
    "BM25_RM3": (0.6588, 0.6567),
    "D_BERT_KD_TASB": (0.7551, 0.7049),
    "OPEN_AI_ADA2": (0.7374, 0.7210),
    "SPLADE_P_P_ENSEMBLE_DISTIL": (0.7459, 0.7473),
}
