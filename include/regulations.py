"""The regulations of this deployment. Edit this file. `include/dsar/regulations.py` explains the fields.

List only laws that your requests are made under. A row with an unknown regulation is invalid, and is due
after the shortest period in this list.

Each entry names the articles that its periods come from. Check them with your lawyers: laws change, and an
entry is no legal advice. A due date is never later than the cited article allows. It stays on a weekend or
holiday, unless you set `last_day` and `holidays`:

    replace(GDPR, last_day=LastDay.MOVES, holidays="DE-BE")

ID5 accepts only the jurisdictions GDPR and CCPA. A request under a law without `id5_jurisdiction` is not sent
to ID5, and its receipt says so. If your lawyers agree to use GDPR or CCPA for such laws, set
ID5_JURISDICTION for all of them, or set `id5_jurisdiction` for one law:

    replace(LGPD, id5_jurisdiction="GDPR")
"""

from include.dsar.model import Action
from include.dsar.regulations import Period, Regulation, Regulations

# The zone of times that the source gives without one, such as "Europe/Berlin".
SOURCE_ZONE = "UTC"

# What ID5 is told for a law without `id5_jurisdiction`: "GDPR", "CCPA", or None (ID5 is not asked).
ID5_JURISDICTION: str | None = None

GDPR = Regulation(
    "GDPR",
    "General Data Protection Regulation (EU) 2016/679",
    Period(months=1),
    # Identity checks: European Data Protection Board, Guidelines 01/2022, section 5.3.
    cites="Article 12(3): one month, two more with notice; Article 12(6): identity checks",
    aliases=("EU GDPR", "DSGVO", "RGPD"),
    rights={
        # One package answers both articles: data/ and tables/ are machine-readable, as Article 20 asks.
        Action.ACCESS: "Article 15: right of access; Article 20: right to data portability",
        Action.ERASURE: "Article 17: right to erasure",
    },
    extension=Period(months=2),
    check_stops_clock=True,
    id5_jurisdiction="GDPR",
)
UK_GDPR = Regulation(
    "UK_GDPR",
    "UK General Data Protection Regulation",
    Period(months=1),
    cites="Articles 12(3) and 12A: one month, two more with notice; an identity check stops the clock",
    aliases=("GDPR UK",),
    rights={
        Action.ACCESS: "Article 15: right of access; Article 20: right to data portability",
        Action.ERASURE: "Article 17: right to erasure",
    },
    extension=Period(months=2),
    check_stops_clock=True,
    id5_jurisdiction="GDPR",
)
FADP = Regulation(
    "FADP",
    "Swiss Federal Act on Data Protection",
    Period(days=30),
    cites="Data Protection Ordinance, Article 18: 30 days; a longer period needs notice and has no limit",
    aliases=("FADP CH", "DSG", "nDSG", "revFADP"),
    rights={Action.ACCESS: "Article 25: right of access", Action.ERASURE: "Article 32: erasure"},
    extension=Period(days=30),  # our choice
)
CCPA = Regulation(
    "CCPA",
    "California Consumer Privacy Act",
    Period(days=45),
    cites="California Code of Regulations, title 11, § 7021: 45 days from receipt, 45 more with notice, "
    "regardless of the time for an identity check; confirmation of receipt within 10 business days",
    aliases=("CPRA", "US CA"),
    rights={
        Action.ACCESS: "Civil Code § 1798.110: right to know",
        Action.ERASURE: "Civil Code § 1798.105: right to delete",
    },
    extension=Period(days=45),
    acknowledgement=Period(working_days=10),
    holidays="US-CA",
    id5_jurisdiction="CCPA",
)
LGPD = Regulation(
    "LGPD",
    "Lei Geral de Proteção de Dados (Brazil)",
    Period(days=15),
    cites="Lei 13.709/2018, Article 19, II: 15 days for access. The same period for erasure is our choice: "
    "Article 18, § 4 wants it without delay",
    rights={Action.ACCESS: "Article 18, II", Action.ERASURE: "Article 18, VI"},
)
PIPEDA = Regulation(
    "PIPEDA",
    "Personal Information Protection and Electronic Documents Act (Canada)",
    Period(days=30),
    cites="Section 8(3): 30 days; section 8(4): at most 30 more, with notice",
    extension=Period(days=30),
)
QUEBEC_25 = Regulation(
    "QUEBEC_25",
    "Act respecting the protection of personal information in the private sector (Québec)",
    Period(days=30),
    cites="Chapter P-39.1, section 32: 30 days. Without an answer the request counts as refused",
    aliases=("Law 25", "Loi 25", "Quebec Law 25"),
)
PIPA = Regulation(
    "PIPA",
    "Personal Information Protection Act (Korea)",
    Period(days=10),
    cites="Articles 35 and 36; Enforcement Decree, Articles 41 and 43: 10 days",
    aliases=("PIPA KR",),
)
NZ_PRIVACY_ACT = Regulation(
    "NZ_PRIVACY_ACT",
    "Privacy Act 2020 (New Zealand)",
    Period(working_days=20),
    cites="Section 44: 20 working days. Section 48 allows an extension for a reasonable period",
    aliases=("NZPA",),
    extension=Period(working_days=20),  # our choice
    holidays="NZ",
)
KVKK = Regulation(
    "KVKK",
    "Law on the Protection of Personal Data No. 6698 (Türkiye)",
    Period(days=30),
    cites="Article 13(2): 30 days",
)
ARGENTINA = Regulation(
    "ARGENTINA",
    "Ley 25.326 de Protección de los Datos Personales (Argentina)",
    {Action.ACCESS: Period(days=10), Action.ERASURE: Period(working_days=5)},
    cites="Article 14(2): 10 days for access; Article 16(2): 5 working days for erasure",
    aliases=("PDPL AR",),
    holidays="AR",
)


def _state(name: str, title: str, cites: str, *aliases: str, days: int = 45, more: int = 45) -> Regulation:
    """Returns the law of a state of the US."""
    periods = f"{cites}: {days} days, {more} more with notice"
    return Regulation(name, title, Period(days=days), periods, aliases, extension=Period(days=more))


US_STATES = (
    _state("US_VA", "Virginia Consumer Data Protection Act", "Code of Virginia § 59.1-577", "VCDPA"),
    _state("US_CO", "Colorado Privacy Act", "Colorado Revised Statutes § 6-1-1306(2)", "CPA"),
    _state("US_CT", "Connecticut Data Privacy Act", "General Statutes of Connecticut § 42-518", "CTDPA"),
    _state("US_UT", "Utah Consumer Privacy Act", "Utah Code § 13-61-203", "UCPA"),
    _state("US_TX", "Texas Data Privacy and Security Act", "Business & Commerce Code § 541.052", "TDPSA"),
    _state("US_OR", "Oregon Consumer Privacy Act", "Oregon Revised Statutes 646A.576", "OCPA"),
    _state("US_MT", "Montana Consumer Data Privacy Act", "Montana Code § 30-14-2808", "MTCDPA"),
    _state("US_DE", "Delaware Personal Data Privacy Act", "Delaware Code, title 6, § 12D-104", "DPDPA"),
    _state("US_NH", "New Hampshire Privacy Act", "Revised Statutes § 507-H:4", "NHPA"),
    _state("US_NJ", "New Jersey Data Privacy Act", "Public Law 2023, chapter 266", "NJDPA"),
    _state("US_NE", "Nebraska Data Privacy Act", "Nebraska Revised Statutes §§ 87-1101 to 87-1130", "NDPA"),
    _state("US_TN", "Tennessee Information Protection Act", "Tennessee Code § 47-18-3304", "TIPA"),
    _state("US_MN", "Minnesota Consumer Data Privacy Act", "Minnesota Statutes § 325M.14", "MNCDPA"),
    _state("US_MD", "Maryland Online Data Privacy Act", "Commercial Law, title 14, subtitle 47", "MODPA"),
    _state("US_IN", "Indiana Consumer Data Protection Act", "Indiana Code 24-15-3", "INCDPA"),
    _state(
        "US_KY", "Kentucky Consumer Data Protection Act", "Kentucky Revised Statutes 367.3611 to 367.3629"
    ),
    _state(
        "US_RI", "Rhode Island Data Transparency and Privacy Protection Act", "General Laws, chapter 6-48.1"
    ),
    _state("US_IA", "Iowa Consumer Data Protection Act", "Iowa Code § 715D.3", "ICDPA", days=90),
    _state("US_FL", "Florida Digital Bill of Rights", "Florida Statutes § 501.706", "FDBR", more=15),
)

REGULATIONS = Regulations(
    (GDPR, UK_GDPR, FADP, CCPA, *US_STATES, LGPD, PIPEDA, QUEBEC_25, PIPA, NZ_PRIVACY_ACT, KVKK, ARGENTINA),
    zone=SOURCE_ZONE,
    id5_jurisdiction=ID5_JURISDICTION,
)
