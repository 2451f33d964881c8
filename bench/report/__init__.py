"""The report of a run (page.py) or of several (page_several.py): one HTML file that opens anywhere and fetches nothing.

The page needs plotly; what a run is in words (cases.py, formats.py, verdict.py) serves the terminal and other formats
too, where that may be missing. So nothing is imported here.
"""
