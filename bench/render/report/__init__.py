"""The report: one web page that needs nothing but a browser.

It has the leaderboard, curves, sample grids and the recipe of every run.
"""
