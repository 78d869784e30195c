"""The report: leaderboard, curves, sample grids and every run's recipe as one web page that needs
nothing but a browser.
"""
