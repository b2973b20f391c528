"""Answers without a network: hear a question (grammar), find its answer (FAQ), speak it.

`faq.load_faq` -> `hear.Recogniser` -> `answer.answer_text` -> `speak.synthesise`. Sound is s16le mono at 24 kHz.
"""
