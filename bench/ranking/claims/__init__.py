"""The claims of SiD's paper (Zhou et al., ICML 2024, arXiv 2404.04057), put to the test on finished runs."""
