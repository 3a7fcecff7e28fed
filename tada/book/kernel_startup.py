"""Write down which checkpoints a page's kernel opens, from the log events of `tada.loaded`.

Run by IPython before the first cell, as PYTHONSTARTUP: see `tada.book.provenance.environment`. It imports nothing of
the package, so that a page that needs none of it starts at once.
"""


def _listen() -> None:
    import json
    import logging
    import os

    notes = os.environ.get("TADA_LOADED")
    if not notes:
        return

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with open(str(notes), "a", encoding="utf-8") as file:
                file.write(json.dumps(record.args) + "\n")

    logger = logging.getLogger("tada.loaded")
    logger.addHandler(Notes())
    logger.setLevel(logging.INFO)


_listen()
del _listen
