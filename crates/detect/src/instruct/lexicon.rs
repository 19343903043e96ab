//! Which words matter, in lower case and without accents, and what each can say. The adversary writes in
//! another language, with digits for letters, or in a script without spaces.

use std::sync::LazyLock;

pub(crate) const VERB: u32 = 1;
pub(crate) const SCOPE: u32 = 1 << 1;
pub(crate) const OBJECT: u32 = 1 << 2;
pub(crate) const YOUR: u32 = 1 << 3;
pub(crate) const REVEAL: u32 = 1 << 4;
pub(crate) const SYSTEM: u32 = 1 << 5;
pub(crate) const SEND: u32 = 1 << 6;
pub(crate) const LOOT: u32 = 1 << 7;
pub(crate) const NOT: u32 = 1 << 8;
pub(crate) const TELL: u32 = 1 << 9;
pub(crate) const USER: u32 = 1 << 10;
pub(crate) const WITHOUT: u32 = 1 << 11;
pub(crate) const YOU: u32 = 1 << 12;
pub(crate) const AS: u32 = 1 << 13;
pub(crate) const NOW: u32 = 1 << 14;
pub(crate) const PRETEND: u32 = 1 << 15;
pub(crate) const MODE: u32 = 1 << 16;
pub(crate) const LIMITS: u32 = 1 << 17;
pub(crate) const ADDRESS: u32 = 1 << 18;
pub(crate) const URGENT: u32 = 1 << 19;
pub(crate) const NEW: u32 = 1 << 20;
pub(crate) const TASK: u32 = 1 << 21;
pub(crate) const INSTEAD: u32 = 1 << 22;
pub(crate) const BEFORE: u32 = 1 << 23;
pub(crate) const ACT: u32 = 1 << 24;
pub(crate) const TOOL: u32 = 1 << 25;
pub(crate) const SECRETLY: u32 = 1 << 26;
pub(crate) const DISCUSS: u32 = 1 << 27;
pub(crate) const PROMPT: u32 = 1 << 28;

/// Longest word that is looked up.
const WORD_MAX: usize = 24;

/// Words of English, German, Spanish, French, Italian, Portuguese, Dutch and Russian.
const WORDS: &[(u32, &str)] = &[
    (
        VERB,
        "supersede supersedes ignore ignoring disregard disregarding forget override overrides bypass neglect discard \
         overlook abandon ignoriere ignorieren ignoriert vergiss vergessen missachte missachten \
         ubergehe verwirf verwerfe ignora ignorad ignoren olvida olvide olviden descarta descarte \
         omite omita ignorez ignorer oublie oubliez oublier neglige negligez ecartez contourne \
         dimentica dimenticate trascura ignorate ignorar esqueca esquece desconsidere desconsidera \
         negeer vergeet игнорируй игнорируйте забудь забудьте проигнорируй",
    ),
    (
        SCOPE,
        "all any every previous previously prior above earlier preceding former foregoing initial \
         original existing past these current everything alle allen alles vorherigen vorherige \
         bisherigen bisherige obigen obige fruheren vorigen vorangegangenen vorangehenden \
         ursprunglichen todas todos toda todo anteriores anterior previas previos precedentes \
         toutes tous tout precedentes precedents anterieures anterieurs tutte tutti precedenti \
         todas anteriores vorige bovenstaande eerdere все всё предыдущие прежние прошлые предыдущих",
    ),
    (
        OBJECT,
        "instruction instructions rule rules guideline guidelines prompt prompts direction \
         directions directive directives command commands constraints policies programming \
         training safeguards guardrails orders anweisung anweisungen instruktion instruktionen \
         regeln befehle befehl vorgaben richtlinien systemprompt instruccion instrucciones reglas \
         ordenes directrices indicaciones consigne consignes regle regles ordres directives \
         istruzioni regole instrucoes regras diretrizes instructies regels opdrachten инструкции \
         инструкций указания правила",
    ),
    (
        PROMPT,
        "prompt prompts instruction instructions guidelines systemprompt systemanweisungen anweisungen instruktionen \
         instrucciones consignes istruzioni instrucoes instructies инструкции",
    ),
    (
        YOUR,
        "your yours deine deinen deiner ihre ihren ihrer tus tu su sus vos votre ta tes tuo tuoi suas seu je jouw",
    ),
    (
        REVEAL,
        "reveal print repeat output show display disclose leak dump recite echo summarize zeige zeig \
         gib verrate wiederhole drucke muestra muestrame revela repite imprime affiche montre \
         revele repete rivela mostra ripeti mostre покажи выведи раскрой",
    ),
    (
        SYSTEM,
        "system systemprompt systemanweisungen initial hidden confidential systeme sistema systems системный systemaufforderung",
    ),
    (
        SEND,
        "send forward email upload exfiltrate transmit transfer post append submit curl wget leak \
         include encode copy attach sende senden schicke schick leite ubermittle envia envie enviar \
         reenvia manda transmite envoie envoyez transmets transferez invia inoltra stuur отправь \
         отправьте перешли",
    ),
    (
        LOOT,
        "password passwords credentials credential secret secrets token tokens key keys apikey env \
         ssh rsa cookies cookie confidential passwort passworter zugangsdaten geheimnisse schlussel \
         contrasena contrasenas credenciales claves secretos motdepasse identifiants secrets cles \
         passe senha senhas credenciais wachtwoord пароль пароли ключи ключ history conversation \
         transcript inbox contacts funds wallet",
    ),
    (
        NOT,
        "not never don dont no nicht niemals nie kein nunca jamas ne pas jamais non niet nooit nao \
         не никогда avoid refrain",
    ),
    (
        TELL,
        "tell inform mention notify alert reveal disclose say ask show informing telling asking \
         notifying mentioning sage sagen erwahne erwahnen informiere informieren verrate mitteilen \
         benachrichtigen menciones mencionar informes informar digas avises avisar diga informez \
         informer dites mentionnez mentionne parle dire signaler informare dirlo сообщай говори \
         сообщайте",
    ),
    (
        USER,
        "user users human owner nutzer benutzer anwender nutzern usuario usuarios utilisateur \
         utente usuario gebruiker пользователю пользователь anyone",
    ),
    (WITHOUT, "without ohne sin sans senza sem zonder без"),
    (YOU, "you du sie tu usted vous eres sei voce jij ты вы u"),
    (AS, "are as become bist sind eres es etes est sei become act"),
    (NOW, "now nun jetzt ahora maintenant desormais adesso ora agora nu теперь henceforth"),
    (
        PRETEND,
        "pretend roleplay simulate impersonate act tue spiele simuliere finge actua simula fais agis comporte fingi finja притворись",
    ),
    (
        MODE,
        "jailbreak jailbroken unrestricted unfiltered uncensored dan godmode devmode uneingeschrankt \
         unzensiert desbloqueado debride nofilter",
    ),
    (
        LIMITS,
        "restrictions restriction limitations filters filter censorship ethics moderation \
         einschrankungen beschrankungen restricciones limites filtros restrictions censure \
         restrizioni limitacoes ограничений",
    ),
    (
        ADDRESS,
        "assistant assistants ai llm llms chatbot gpt chatgpt claude copilot gemini bot agent agents \
         assistent assistentin ki sprachmodell asistente ia assistente modele modelo ассистент \
         assistant",
    ),
    (
        URGENT,
        "important urgent immediately must attention critical mandatory wichtig dringend sofort achtung \
         unbedingt importante urgente inmediatamente atencion obligatorio importante attention \
         immediatement imperatif obligatoire attenzione importante срочно важно attention",
    ),
    (
        NEW,
        "new revised real true actual neue neuen neuer neues nueva nuevas nuevo nouvelle nouvelles nouveau nuove nuova novas nova новые новая",
    ),
    (
        TASK,
        "task tasks objective goal goals job mission request query question aufgabe aufgaben auftrag \
         ziel tarea tareas objetivo tache taches compito obiettivo tarefa taak задача задание",
    ),
    (INSTEAD, "instead stattdessen statt lugar plutot invece вместо"),
    (BEFORE, "before first bevor zuerst vor antes primero avant abord prima перед сначала"),
    (
        ACT,
        "execute run call invoke use trigger fuhre rufe starte verwende ejecuta ejecute llama usa execute executez lance appelle utilise esegui chiama выполни запусти",
    ),
    (
        TOOL,
        "tool tools function functions command commands api endpoint script shell bash curl werkzeug funktion befehl herramienta funcion comando outil fonction commande strumento функцию команду",
    ),
    (
        SECRETLY,
        "silently secretly quietly covertly discreetly heimlich unbemerkt stillschweigend secretamente silencio discretamente secretement discretement silencieusement segretamente тайно незаметно",
    ),
    (
        DISCUSS,
        "injection injections attack attacks attacker attackers adversary adversarial example examples \
         phrase phrases payload payloads detect detects detector classifier such like angriff angriffe \
         beispiel angreifer ataque ataques ejemplo attaque attaques exemple inyeccion researchers \
         vulnerability owasp benchmark corpus dataset",
    ),
];

/// Words of Chinese, Japanese and Korean, found without spaces: two to four characters.
const UNSPACED: &[(u32, &str)] = &[
    (VERB, "忽略 无视 無視 忘记 忘掉 忘記 不要理会 抛弃 绕过 忘れて 무시 잊어"),
    (SCOPE, "之前 以上 上面 先前 前面 所有 全部 一切 上述 以前 すべて 全て 이전 모든"),
    (OBJECT, "指令 指示 提示 规则 規則 命令 要求 提示词 指引 规定 ルール 지시 규칙 명령 프롬프트"),
    (PROMPT, "指令 提示 提示词 指示"),
    (YOUR, "你的 您的 あなたの 당신의"),
    (REVEAL, "显示 输出 告诉我 泄露 打印 重复 透露 顯示 表示して 보여"),
    (SYSTEM, "系统 系統 システム 시스템"),
    (SEND, "发送 转发 上传 寄送 發送 发给 传送 送信 転送 보내 전송"),
    (LOOT, "密码 密钥 凭证 令牌 机密 密碼 口令 私钥 パスワー 비밀번호"),
    (NOT, "不要 不得 切勿 别 禁止 请勿 ないで 말고 마세요"),
    (TELL, "告诉 告知 通知 提及 提醒 说明 知らせ 言わ 알리"),
    (USER, "用户 使用者 用戶 ユーザー 사용자"),
    (WITHOUT, "无需 没有 无 沒有 なしで 없이"),
    (YOU, "你 您 你是 あなた 당신"),
    (AS, "是 成为 扮演 作为"),
    (NOW, "现在 從現在 今から 이제 지금"),
    (PRETEND, "假装 扮演 假设 ふりをし"),
    (MODE, "越狱 无限制 开发者模"),
    (LIMITS, "限制 约束 审查 制限 제한"),
    (ADDRESS, "助手 人工智能 模型 智能体 アシスタ 도우미"),
    (URGENT, "重要 紧急 必须 立即 马上 注意 立刻 緊急 중요 즉시"),
    (NEW, "新的 新 真正的 새로운"),
    (TASK, "任务 任務 目标 タスク 작업"),
    (INSTEAD, "而是 改为 代わりに 대신"),
    (BEFORE, "首先 之前先 まず 먼저"),
    (ACT, "执行 运行 调用 使用 実行 실행"),
    (TOOL, "工具 函数 命令 脚本 接口 ツール 도구"),
    (SECRETLY, "偷偷 秘密 悄悄 暗中 こっそり 몰래"),
    (DISCUSS, "攻击 注入 例如 示例 攻擊 研究 检测"),
];

struct Table {
    slots: Vec<(&'static [u8], u32)>,
    /// For each first letter, which lengths there are.
    lengths: [u32; 26],
    /// Hashed first characters of unspaced words.
    firsts: [u64; 16],
}

const SLOTS: usize = 1 << 13;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table =
        Table { slots: vec![(b"".as_slice(), 0); SLOTS], lengths: [0; 26], firsts: [0; 16] };
    for (category, words) in WORDS {
        for word in words.split_ascii_whitespace() {
            table.put(word.as_bytes(), *category);
        }
    }
    for (category, words) in UNSPACED {
        for word in words.split_ascii_whitespace() {
            table.put(word.as_bytes(), *category);
            let (slot, bit) = first_bit(word.as_bytes());
            if let Some(bits) = table.firsts.get_mut(slot) {
                *bits |= bit;
            }
        }
    }
    table
});

impl Table {
    fn put(&mut self, word: &'static [u8], category: u32) {
        let first = word.first().and_then(|first| letter(*first));
        if let Some(lengths) = first.and_then(|first| self.lengths.get_mut(first)) {
            *lengths |= 1 << word.len().min(31);
        }
        let mut at = hash(word) % SLOTS;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.1 == 0 || slot.0 == word {
                *slot = (word, slot.1 | category);
                return;
            }
            at = (at + 1) % SLOTS;
        }
    }

    fn get(&self, word: &[u8]) -> u32 {
        let mut at = hash(word) % SLOTS;
        while let Some((known, categories)) = self.slots.get(at) {
            if *categories == 0 || known.eq_ignore_ascii_case(word) {
                return *categories;
            }
            at = (at + 1) % SLOTS;
        }
        0
    }
}

fn letter(byte: u8) -> Option<usize> {
    let lower = byte | 0x20;
    lower.is_ascii_lowercase().then(|| usize::from(lower - b'a'))
}

fn hash(word: &[u8]) -> usize {
    let mixed = word.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        // Letters only differ in the bit of their case.
        (hash ^ u32::from(if byte.is_ascii() { byte | 0x20 } else { *byte }))
            .wrapping_mul(0x0100_0193)
    });
    usize::try_from(mixed ^ mixed >> 15).unwrap_or(0)
}

fn first_bit(word: &[u8]) -> (usize, u64) {
    let mixed = word
        .iter()
        .take(3)
        .fold(7_usize, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    (mixed / 64 % 16, 1 << (mixed % 64))
}

/// The categories of a word, in any case.
#[inline]
pub(crate) fn categories(word: &[u8]) -> u32 {
    let table = &*TABLE;
    if word.len() <= WORD_MAX
        && let Some(first) = word.first().and_then(|first| letter(*first))
    {
        let lengths = table.lengths.get(first).copied().unwrap_or(0);
        return if lengths >> word.len() & 1 == 1 { table.get(word) } else { 0 };
    }
    if word.len() <= 2 * WORD_MAX && word.first().is_some_and(|first| *first >= 0x80) {
        return table.get(word);
    }
    0
}

/// The categories of a word of a script without spaces.
pub(crate) fn unspaced(word: &[u8]) -> u32 {
    let (slot, bit) = first_bit(word);
    let table = &*TABLE;
    if word.is_empty() || table.firsts.get(slot).is_none_or(|bits| bits & bit == 0) {
        return 0;
    }
    table.get(word)
}

/// Scripts that put no spaces between words, and Hangul, whose words carry endings.
pub(crate) const fn is_unspaced(found: char) -> bool {
    matches!(found, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// A word of at most sixteen bytes with digits for letters, read as letters.
pub(crate) fn unleet<'a>(word: &[u8], buffer: &'a mut [u8; 16]) -> &'a [u8] {
    for (letter, byte) in buffer.iter_mut().zip(word) {
        *letter = match byte {
            b'0' => b'o',
            b'1' => b'i',
            b'3' => b'e',
            b'4' => b'a',
            b'5' => b's',
            b'7' => b't',
            other => *other,
        };
    }
    buffer.get(..word.len()).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case_and_strange_ones_are_not() {
        assert_eq!(categories(b"IGNORE") & VERB, VERB);
        assert_eq!(unspaced("忽略".as_bytes()), VERB);
        assert_eq!(categories(unleet(b"1gn0r3", &mut [0; 16])) & VERB, VERB);
        assert_eq!(categories(b"tapestry"), 0);
        assert_eq!(categories(&[b'a'; 4000]), 0);
    }

    #[test]
    fn the_table_is_not_crowded() {
        let used = TABLE.slots.iter().filter(|slot| slot.1 != 0).count();
        assert!(used * 4 < SLOTS, "{used}");
    }
}
