"""Reading the findings of an examination."""

from accounts.doctor.findings import Finding, Findings, Status


def by_name(findings: Findings) -> dict[str, Finding]:
    """By the second half of the name: all are of one group."""
    return {finding.name.partition(".")[2]: finding for finding in findings}


def statuses(findings: dict[str, Finding]) -> dict[str, Status]:
    return {name: finding.status for name, finding in findings.items()}
