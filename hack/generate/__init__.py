"""The generated files of the repository: CRDs, the chart's copies, parts of the docs."""
