"""Build the site: execute the notebooks, render the pages, check what came out."""
