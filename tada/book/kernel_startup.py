"""Write down what a page's kernel opens and reads, from the log events of `tada.loaded` and `tada.results`.

Run by IPython before the first cell, as PYTHONSTARTUP: see `tada.book.provenance.environment`. It imports nothing of
the package, so that a page that needs none of it starts at once.
"""


def _listen() -> None:
    import json
    import logging
    import os

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with open(os.environ[self.name or ""], "a", encoding="utf-8") as file:
                file.write(json.dumps(record.args) + "\n")

    for logger, variable in (("tada.loaded", "TADA_LOADED"), ("tada.results", "TADA_USED")):
        if os.environ.get(variable):
            notes = Notes()
            notes.name = variable
            logging.getLogger(logger).addHandler(notes)
            logging.getLogger(logger).setLevel(logging.INFO)


_listen()
del _listen
