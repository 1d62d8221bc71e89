"""Rankers where people already are: LangChain, LlamaIndex, Haystack and PyTerrier, one module each.

Each module needs the library it is named after, and says so when it is imported; nothing else here imports them.
"""
