"""What builds the pages: run the notebooks, render the book, check what came out."""
