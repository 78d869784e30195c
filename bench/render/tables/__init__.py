"""A leaderboard as text: for the terminal, Markdown, LaTeX, HTML, CSV and JSON."""
