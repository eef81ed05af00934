//! The manual page corosync.toml(5), made from the table of keys.

use crate::{
    example::facts,
    keys::{Key, Origin, ROOT, Section, Support},
};

/// The page in man(7) macros.
pub fn manual() -> String {
    let mut page = Page::default();
    page.raw(".\\\" Made from config/src/keys.rs; its tests compare the two.");
    page.raw(".TH COROSYNC.TOML 5 \"\" corosync \"File formats\"");
    page.raw(".SH NAME");
    page.raw("corosync.toml \\- configuration of the cluster daemon");
    page.raw(".SH SYNOPSIS");
    page.raw(".I /etc/corosync/corosync.toml");
    page.raw(".SH DESCRIPTION");
    page.text(INTRODUCTION);
    for section in ROOT.all() {
        if section.support == Support::Now && !(section.keys.is_empty() && section.doc.is_empty()) {
            page.section(section);
        }
    }
    page.raw(".SH NOT SUPPORTED");
    page.text(
        "The following names of corosync.conf(5) are reported as errors. This version does not have them yet: \
         they will be read by a later one.",
    );
    page.raw(".PP");
    page.text(&unsupported(|support| support == Support::Later));
    page.raw(".PP");
    page.text("These have no meaning here:");
    page.raw(".PP");
    page.text(&unsupported(|support| matches!(support, Support::Never(_))));
    page.raw(".SH EXAMPLE");
    page.raw(".nf");
    for line in EXAMPLE.lines() {
        page.text(line);
    }
    page.raw(".fi");
    page.raw(".SH FILES");
    page.files();
    page.raw(".SH SEE ALSO");
    page.raw(".BR corosync (8),\n.BR corosync-keygen (8),\n.BR corosync-cpgtool (8)");
    page.out
}

const INTRODUCTION: &str = "The file is TOML. Its sections and keys have the names that corosync.conf(5) gives them; \
    those that are new say so. Times are in milliseconds. Every section and key is checked before any of them is used: \
    what is unknown, of the wrong type, out of range or in contradiction to something else is reported, all at once, as \
    file:line:column: message. A file has at most 262144 octets.";

const EXAMPLE: &str = "[totem]
cluster_name = \"example\"
token = 1000

[[nodelist.node]]
nodeid = 1
name = \"alpha\"
ring0_addr = \"192.0.2.1\"

[[nodelist.node]]
nodeid = 2
name = \"beta\"
ring0_addr = \"192.0.2.2\"

[[uidgid]]
uid = \"hacluster\"
gid = \"haclient\"
";

/// The full names of everything with this kind of support.
fn unsupported(wanted: impl Fn(Support) -> bool) -> String {
    let mut names = Vec::new();
    for section in ROOT.all() {
        if wanted(section.support) {
            names.push(section.header());
        }
        let keys = section.keys.iter().filter(|key| wanted(key.support));
        names.extend(keys.map(|key| format!("{}.{}", section.path, key.name)));
    }
    names.join(", ") + "."
}

/// A page that grows.
#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    /// Appends a line of roff.
    fn raw(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// Appends a line of text; roff's own characters lose their meaning.
    fn text(&mut self, text: &str) {
        self.raw(&escaped(text));
    }

    fn section(&mut self, section: &Section) {
        self.raw(&format!(".SH \"{}\"", escaped(&section.header())));
        self.text(section.doc);
        for key in section.keys.iter().filter(|key| key.support == Support::Now) {
            self.key(key);
        }
    }

    fn key(&mut self, key: &Key) {
        self.raw(".TP");
        self.raw(&format!(".B {}", escaped(key.name)));
        self.text(key.doc);
        let origin = match key.origin {
            Origin::Corosync => "",
            Origin::New => " New here.",
        };
        self.text(&format!("{}{origin}", facts(key)));
    }

    fn files(&mut self) {
        for (file, what) in [
            ("/etc/corosync/corosync.toml", "the configuration"),
            ("/etc/corosync/authkey", "the cluster's shared secret"),
            ("/etc/corosync/uidgid.d/*.toml", "further [[uidgid]] sections"),
            ("/var/lib/corosync", "the state directory"),
        ] {
            self.raw(".TP");
            self.raw(&format!(".I {}", escaped(file)));
            self.text(what);
        }
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
