use std::collections::BTreeSet;

use super::*;

mod known;

fn market(city: &str, state: &str, aliases: &[&str]) -> Market {
    Market {
        city: city.into(),
        state: state.into(),
        aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
    }
}

fn places() -> Places {
    Places::new(&[
        market("New York", "NY", &["NYC", "New York City"]),
        market("Los Angeles", "CA", &["LA"]),
        market("Austin", "TX", &["ATX"]),
        market("St. Louis", "MO", &[]),
        market("Washington", "DC", &[]),
        market("Theodore", "AL", &[]),
    ])
}

fn location(city: &str, state: &str, country: &str) -> Location {
    Location {
        city: city.into(),
        state: state.into(),
        country: country.into(),
    }
}

fn place(city: &str, state: &str, country: &str) -> String {
    places().place(&location(city, state, country))
}

/// Checks that every spelling in a row of `place = spelling|spelling` is that place.
#[track_caller]
fn check(rows: &str, place: impl Fn(&str, &str) -> String) {
    for (want, spelt) in rows
        .lines()
        .filter_map(|row| row.trim_start().split_once(" = "))
    {
        for spelt in spelt.split('|') {
            assert_eq!(place(want, spelt), want, "{spelt:?}");
        }
    }
}

/// Returns the place of a state in the country that `want` begins with.
fn abroad(want: &str, state: &str) -> String {
    let (country, _) = want.split_once('-').unwrap();
    place("Somewhere", state, country)
}

#[test]
fn markets_keep_their_city_and_the_rest_goes_by_state() {
    for ((city, state, country), want) in [
        (("Austin", "TX", "US"), "Austin_TX"),
        ((" AUSTIN ", "Texas", "usa"), "Austin_TX"),
        (("N.Y.C.", "ny", "US"), "New York_NY"),
        (("new  york", "New York", "United States"), "New York_NY"),
        (("Austin", "MN", "US"), "MN"),
        (("Waco", "TX", "US"), "TX"),
        (("Perth", "WA", "AU"), "AU-WA"),
        (("Austin", "TX", "AU"), "AU-TX"),
    ] {
        assert_eq!(place(city, state, country), want, "{city}, {state}");
    }
}

#[test]
fn a_market_is_known_in_every_dress() {
    let cities = |rows| {
        check(rows, |want, city| {
            let (place_of, state) = want.split_once(" in ").unwrap();
            let given = place(city, state, "US");
            format!("{given} in {}", if given == place_of { state } else { "?" })
        });
    };
    cities(
        "
        Austin_TX in TX = austin|AUSTIN|Ａｕｓｔｉｎ|Austin\u{a0}|Aus\u{ad}tin|Austin, TX|Austin, Texas|\
            Austin TX|Austin (TX)|Austin, TX, USA|Austin, TX 78701|Austin, TX 78701-1234|\
            City of Austin|The City of Austin, Texas|A.T.X.
        New York_NY in N.Y. = New-York|New\u{2003}York|N.Y.C.|N Y C|NewYork|New York, New York|\
            City of New York|New York City, NY
        Los Angeles_CA in Calif. = Los Ángeles|L.A.|Los Angeles, California
        St. Louis_MO in Mo. = Saint Louis|ST LOUIS|St. Louis, Missouri|St Louis MO
        Theodore_AL in Ala. = Theodore, Alabama|The City of Theodore
        Washington_DC in D.C. = Washington, D.C.|Washington DC|washington d. c.
        ",
    );
    // Other cities, and cities of the same name elsewhere.
    cities(
        "
        NY in NY = Austin|New York Mills|Yorktown
        MN in MN = Austin|Austin, TX
        WA in WA = Washington
        ",
    );
}

#[test]
fn a_state_of_the_us_has_one_place() {
    let states = |rows| check(rows, |_, state| place("Somewhere", state, "US"));
    states(
        "
        DC = DC|D.C.|D. C.|dc|District of Columbia|DISTRICT OF COLUMBIA|Dist. of Columbia|\
            Washington D.C.|Washington, DC|Wash. D.C.|US-DC|District of Columbia (DC)
        TX = TX|tx|Tx.|T.X.|Texas|TEXAS|Tex.|State of Texas|Texas (TX)|TX (Texas)|TX, USA|\
            Texas, USA|Texas, United States|US-TX|us_tx|USA-TX|TX US|Austin, TX|TX 78701|ＴＸ|\
            Te\u{200b}xas|Texas, State of|Tejas
        NY = N.Y.|New York|New York State|State of New York|new-york
        CA = Calif.|Cal.|California|CA.|Kalifornien|Californie
        MA = Mass.|Commonwealth of Massachusetts|massachusetts
        PA = Pa.|Penn.|Penna.|Pennsylvania|Pensilvania
        ND = N. Dak.|N.D.|North Dakota|N. Dakota|Dakota del Norte
        WV = W. Va.|W.Va.|West Virginia|West Va.
        HI = Hawaii|Hawai'i|Hawai‘i|Hawaiʻi|HAWAI’I|Hawái
        WA = Wash.|Washington|Washington State|State of Washington
        RI = R.I.|Rhode Island and Providence Plantations|Rhode-Island
        MT = MT|mt|M.T.|Mont.|MT, USA
        ",
    );
    // The other postal codes of the US.
    states(
        "
        PR = PR|P.R.|Puerto Rico|Commonwealth of Puerto Rico|PUERTO-RICO
        VI = VI|V.I.|Virgin Islands|U.S. Virgin Islands|US Virgin Islands|USVI|\
            Virgin Islands (U.S.)|Virgin Islands, U.S.|Virgin Islands of the United States
        MP = MP|CNMI|Northern Mariana Islands|Northern Marianas|\
            Commonwealth of the Northern Mariana Islands
        GU = GU|Guam|Territory of Guam|Guåhan
        AS = AS|American Samoa
        UM = UM|U.S. Minor Outlying Islands
        AE = AE|A.E.|Armed Forces Europe|Armed Forces Africa
        AP = AP|Armed Forces - Pacific
        FM = FM|Micronesia|Federated States of Micronesia|FSM
        US = US|USA|United States|U.S.
        ",
    );
    // Counties, cities and unknown names are not states.
    states(
        "
        DELAWARE COUNTY = Delaware County|delaware  county|Delaware-County
        KANSAS CITY = Kansas City
        KENT = Kent
        TEXAS OKLAHOMA = Texas / Oklahoma|texas, oklahoma
        ",
    );
}

#[test]
fn the_us_has_one_name() {
    let spelt = "US|us|USA|U.S.|U.S|U.S.A|U.S.A.|U. S. A.|ＵＳ|U.S. of A.|United States|\
        UNITED STATES|the United States|United States of America|The United States of America|\
        United\u{a0}States|America|Estados Unidos|Estados Unidos de América|EE. UU.|EEUU|\
        États-Unis|Vereinigte Staaten|Stati Uniti|840|United States (US)|USA, America|| |.";
    for country in spelt.split('|') {
        assert_eq!(place("Waco", "Texas", country), "TX", "{country:?}");
    }
    // The territories given as countries.
    for (code, countries) in [
        ("PR", "PR|PRI|Puerto Rico|630"),
        ("GU", "GU|GUM|Guam|316"),
        ("VI", "VI|VIR|U.S. Virgin Islands|Virgin Islands (U.S.)"),
        ("AS", "AS|ASM|American Samoa|16"),
        ("MP", "MP|MNP|Northern Mariana Islands|580"),
        ("UM", "UM|UMI|United States Minor Outlying Islands|581"),
    ] {
        for country in countries.split('|') {
            for state in [code, "San Juan", country] {
                assert_eq!(place("San Juan", state, country), code, "{country}");
            }
        }
    }
    // Not territories, although US mail goes there.
    for (country, state, want) in [
        ("FM", "Federated States of Micronesia", "FM"),
        ("Micronesia", "FM", "FM"),
        ("FM", "Yap", "FM-YAP"),
        ("Palau", "Palau", "PW"),
    ] {
        assert_eq!(place("Colonia", state, country), want);
    }
}

#[test]
fn a_country_has_one_place() {
    check(
        "
        GB = GB|UK|U.K.|United Kingdom|Great Britain|GBR|826|England|\
            United Kingdom of Great Britain and Northern Ireland|the UK|Britain
        DE = DE|Germany|DEU|276|Deutschland|Allemagne|Alemania|Federal Republic of Germany|\
            germany (DE)
        MX = Mexico|México|MÉXICO|Me\u{301}xico|MEX|484
        ES = España|Espana|Spain|Kingdom of Spain
        NL = Holland|The Netherlands|Netherlands|Nederland|Pays-Bas
        CI = Côte d'Ivoire|Cote d’Ivoire|COTE DIVOIRE|Ivory Coast
        CZ = Czechia|Czech Republic|Česko
        KR = South Korea|Korea, Republic of|Republic of Korea|Korea
        KP = North Korea|Korea (Democratic People's Republic of)
        BS = Bahamas|The Bahamas|Bahamas, The|Bahamas (The)
        TR = Türkiye|Turkey|Turkiye|TUR
        LC = Saint Lucia|St. Lucia|St Lucia|LCA
        TT = Trinidad and Tobago|Trinidad & Tobago
        AE = UAE|U.A.E.|United Arab Emirates
        BO = Bolivia|Bolivia (Plurinational State of)
        XK = Kosovo|XK
        JP = Japan|日本|JPN
        ",
        |_, country| place("x", "nowhere", country).replace("-NOWHERE", ""),
    );
    // Similar names of different countries.
    let codes = "Niger|Nigeria|Dominica|Dominican Republic|Guinea|Guinea-Bissau|Congo|DR Congo|\
        Samoa|American Samoa|Ireland|Iceland|Saint Martin|Sint Maarten|British Virgin Islands|\
        US Virgin Islands|Austria|Australia";
    let places: BTreeSet<_> = codes
        .split('|')
        .map(|country| place("x", "y", country))
        .collect();
    assert_eq!(places.len(), codes.split('|').count());
}

#[test]
fn a_subdivision_abroad_has_one_place() {
    check(
        "
        AU-NSW = NSW|nsw|N.S.W.|N. S. W.|New South Wales|New  South Wales|\
            New\u{a0}South\u{a0}Wales|NEW-SOUTH-WALES|AU-NSW|State of New South Wales|\
            New South Wales, Australia|NSW 2000|NSW (Sydney)|Ｎｅｗ Ｓｏｕｔｈ Ｗａｌｅｓ
        AU-WA = WA|W.A.|ＷＡ|Western Australia|western australia
        CA-QC = QC|Québec|Que\u{301}bec|Quebec|QUEBEC|Que.|CA-QC|Province of Quebec|\
            Province de Québec|Québec (QC)|P.Q.
        CA-NL = NL|Newfoundland and Labrador|Newfoundland & Labrador|Nfld.
        DE-BY = Bayern|Bavaria|BY|Freistaat Bayern|Free State of Bavaria|Land Bayern|Bavière
        DE-BW = Baden-Württemberg|Baden Wurttemberg|Baden-Wuerttemberg
        IT-52 = Toscana|Tuscany|Toskana|Regione Toscana|Tuscany Region|52
        IT-82 = Sicilia|Sicily
        IT-25 = Lombardia|Lombardy
        IT-23 = Valle d'Aosta|Valle d’Aosta|Aosta Valley|Vallée d'Aoste
        IT-BZ = Bolzano|Bozen/Bolzano|South Tyrol|Alto Adige|Südtirol
        ES-CT = Catalonia|Cataluña|Catalunya|Cataluna|Comunidad Autónoma de Cataluña
        ES-IB = Balearic Islands|Illes Balears|Islas Baleares|Baleares|IB|PM
        ES-MD = Madrid|Comunidad de Madrid|Community of Madrid|MD
        ES-AN = Andalucía|Andalusia|ANDALUCIA
        ES-SE = Sevilla|Provincia de Sevilla|Seville|Province of Seville
        FR-BRE = Bretagne|Brittany
        FR-NOR = Normandie|Normandy
        FR-PAC = Provence-Alpes-Côte d'Azur|Provence Alpes Cote d’Azur|PACA
        FR-75C = Paris|Ville de Paris|75|75C
        CH-GE = Genève|Geneva|Genf|Canton of Geneva|canton de Genève
        CH-SG = St. Gallen|Sankt Gallen|St Gallen|Saint-Gall
        AT-9 = Wien|Vienna|9
        AT-7 = Tirol|Tyrol
        BE-VAN = Antwerpen|Antwerp|Province d'Anvers|Anvers
        BE-VLG = Flanders|Vlaanderen|Vlaams Gewest
        NL-NH = Noord-Holland|North Holland|Noord Holland
        MX-CMX = CDMX|Ciudad de México|Mexico City|D.F.|Distrito Federal
        MX-MEX = Estado de México|State of Mexico|México
        MX-ROO = Quintana Roo|Q. Roo|ROO
        JP-13 = Tokyo|Tôkyô|Tōkyō|Tokyo-to|東京都|東京|13
        JP-26 = Kyoto|Kyoto Prefecture|京都府|Kyoto-fu
        GR-I = Attica|Attiki|Αττική
        GB-SCT = Scotland|Escocia|SCT
        GB-EDH = Edinburgh|City of Edinburgh|Edinburgh, City of
        GB-DUR = Durham|County Durham|Durham, County
        GB-LONDON = London|Greater London|London, England
        IE-D = Dublin|Co. Dublin|County Dublin|Baile Átha Cliath
        PT-11 = Lisboa|Lisbon|Distrito de Lisboa
        RU-MOS = Moscow Region|Moscow Oblast|Moskovskaya oblast'
        RU-MOW = Moscow|Moskva|Москва
        CN-SN = Shaanxi|Shaanxi Sheng|Shaanxi Province|陕西省
        CN-SX = Shanxi|Shanxi Province
        IN-TN = Tamil Nadu|Tamilnadu|Tamil Nādu
        BR-SP = São Paulo|Sao Paulo|SP|Estado de São Paulo
        AG-04 = Saint John|St. John
        ",
        abroad,
    );
    check(include_str!("tests/exonyms.txt"), abroad);
}

#[test]
fn a_country_within_another_is_one_place_with_itself() {
    // State and country. The country is the US if none is given.
    check(
        "
        SG-SG = Singapore; SG|SG; Singapore|Republic of Singapore; SGP
        HK-HK = Hong Kong; HK|Hong Kong; CN|HK; CN|CN-HK; China
        RE-RE = La Réunion; FR|974; FR|Réunion; RE|Reunion; REU
        GP-GP = Guadeloupe; FR|GP; GP
        CW-CW = Curaçao; NL|Curaçao; Curacao
        BQ-BO = Bonaire; NL|Bonaire; BQ
        AX-AX = Åland; FI|Ahvenanmaa; FI|Åland Islands; AX
        JE-JE = Jersey; UK|Jersey; Jersey
        GL-GL = Greenland; Denmark|Greenland; GL
        SJ-SVALBARD = Svalbard; NO|Svalbard; SJ
        MT-MT = Malta; Malta|MLT; MT
        LU-LU = Luxembourg; Luxembourg|LU; LU
        PA-8 = Panama; Panama|Panamá; PA
        AU-NSW = AU-NSW; US|NSW; AU
        CA-ON = Ontario, Canada; US|Ontario; CA
        ",
        |_, spelt| {
            let (state, country) = spelt.split_once("; ").unwrap();
            place("x", state, country)
        },
    );
}

#[test]
fn what_cannot_be_decided_is_text() {
    // The city with its province; names that are in no list.
    check(
        "
        AR-BUENOS AIRES = Buenos Aires|BUENOS AIRES
        AR-B = Provincia de Buenos Aires|Buenos Aires Province|B
        AR-C = CABA|Ciudad de Buenos Aires|City of Buenos Aires|C
        BD-DHAKA = Dhaka
        BD-C = Dhaka Division|C
        BD-13 = Dhaka District|13
        GR-SANTORINI = Santorini|Santoríni|SANTORINI.|Santo\u{ad}rini
        FR-COTE DAZUR = Côte d'Azur|Cote d’Azur|COTE  DAZUR
        JM-MONTEGO BAY = Montego Bay|Montego-Bay|montego\u{2009}bay
        FR-SAINT TROPEZ = St. Tropez|Saint-Tropez|St Tropez
        ",
        abroad,
    );
    for (country, state) in [("Narnia", "Cair Paravel"), ("n a r n i a", "cair-paravel.")] {
        assert_eq!(place("x", state, country), "NARNIA-CAIR PARAVEL");
    }
}

#[test]
fn a_place_of_an_older_version_is_read_as_today() {
    // `Ark.` is Arkansas, but `AR-K` is Catamarca. Denver is not a market here, or no longer.
    check(
        "
        NY = N.Y.|NEW-YORK
        DC = D.C.
        PR = PUERTO RICO|PR-SAN JUAN|PUERTO RICO-PR
        TX = TEX.|US-TX|U.S.A-TX
        AU-NSW = AU-NEW  SOUTH WALES|AU-NEW\u{a0}SOUTH WALES|AUSTRALIA-NSW
        AU-WA = AU-ＷＡ
        CA-QC = CA-QUÉBEC|CA-QUE\u{301}BEC
        GB-ENG = UK-ENGLAND
        GB-SCT = UNITED KINGDOM-SCOTLAND
        GW-BS = GUINEA-BISSAU-BISSAU
        SG-SG = SINGAPORE-SINGAPORE
        FM = FM-MICRONESIA
        HK-HK = CN-HONG KONG
        CA-ON = ONTARIO, CANADA
        AR-K = AR-K
        Austin_TX = AUSTIN_TX
        New York_NY = New York City_NY
        CO = Denver_CO
        GR-SANTORINI = GR-SANTORÍNI
        NARNIA-CAIR PARAVEL = NARNIA-CAIR  PARAVEL
        WEST DAKOTA = WEST  DAKOTA
        ",
        |_, older| places().canonical(older).into_owned(),
    );
    for today in [
        "TX",
        "Austin_TX",
        "New York_NY",
        "PR",
        "AU-NSW",
        "SG-SG",
        "GR-SANTORINI",
        "ZZ",
    ] {
        assert!(
            matches!(places().canonical(today), Cow::Borrowed(_)),
            "{today}"
        );
    }
}

#[test]
fn a_place_says_what_its_codes_stand_for() {
    for (place, want) in [
        ("TX", "TX"),
        ("Austin_TX", "Austin_TX"),
        ("IT-52", "IT-52 (Toscana, Italy)"),
        ("JP-13", "JP-13 (Tokyo, Japan)"),
        ("SG-SG", "SG-SG (Singapore)"),
        ("GR-SANTORINI", "GR-SANTORINI (Greece)"),
        ("NARNIA-CAIR PARAVEL", "NARNIA-CAIR PARAVEL"),
    ] {
        assert_eq!(in_words(place), want);
    }
}
