"""Evaluation of trained models: codes, scores, controllability, figures, tables and the report."""
