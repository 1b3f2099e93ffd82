"""Write tests/deploy/golden anew: what the system's chart renders for each of its profiles."""

from helm import PROFILES, golden_text
from locks import ROOT

if __name__ == "__main__":
    for profile in PROFILES:
        (ROOT / "tests/deploy/golden" / f"{profile}.yaml").write_text(golden_text(profile))
