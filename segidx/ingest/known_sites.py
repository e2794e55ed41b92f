"""Sites that a visit may come from, by host, by Android package and by the name that campaigns give them: search
engines with the parameters that hold the phrase, social networks, webmail, ad networks.

The list is our own, because no package carries one that can be depended on (docs/VISITS.md has the particulars): the
list of snowplow's referer-parser and what is made from it is under the GPL whatever the package around it says, the
public-domain list of Matomo is in no Python package but as a copy of 2021 in one that fails to import, and both come
with an HTTP client. It is short: sites that send visitors today, written down from what their own addresses are. A site
that is missing is a referral, never an error.

A host stands for itself and the hosts below it, for itself only behind `=`. `google.*` is the name below any country's
domain. Imports nothing of segidx.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Kind(StrEnum):
    """What a site or a name is."""

    SEARCH = "search"
    SOCIAL = "social"
    EMAIL = "email"
    DISPLAY = "display"


@dataclass(frozen=True, slots=True)
class Site:
    """A known site; `phrase` are the parameters of its result pages that hold what was searched for, first choice
    first."""

    kind: Kind
    phrase: tuple[str, ...] = ()


# Engines by the parameters of the phrase. The big ones have many services besides search, so their hosts are exact.
_SEARCH = {
    ("q",): """
        =google.* =m.google.* =images.google.* =news.google.* =scholar.google.* =video.google.* =shopping.google.*
        =encrypted.google.* =ipv4.google.* =ipv6.google.* =cse.google.* =blogsearch.google.*
        =bing.com =cn.bing.com =m.bing.com =global.bing.com duckduckgo.com ecosia.org qwant.com search.brave.com
        kagi.com mojeek.com swisscows.com metager.de metager.org yep.com search.marginalia.nu presearch.com you.com
        search.aol.com search.aol.co.uk search.msn.com =ask.com =search.lycos.com =dogpile.com =gigablast.com
        suche.web.de suche.gmx.net suche.t-online.de search.seznam.cz =go.mail.ru =nova.rambler.ru =coccoc.com
        =so.com =m.so.com =zapmeta.com =info.com =lilo.org search.lilo.org =lukol.com =gibiru.com =oceanhero.today
        =search.ch =zoeken.nl =izito.com =karmasearch.org""",
    ("query", "q"): "startpage.com =searx.be =search.naver.com =m.search.naver.com =suche.freenet.de",
    ("p",): "search.yahoo.* search.yahoo.co.jp",
    ("text",): "=yandex.* =m.yandex.* =images.yandex.* =video.yandex.* =ya.ru",
    ("wd", "word"): "=baidu.com =m.baidu.com =image.baidu.com =wap.baidu.com",
    ("query", "keyword"): "=sogou.com =m.sogou.com =wap.sogou.com =pic.sogou.com",
    ("q", "query"): "=search.daum.net =m.search.daum.net =petalsearch.com =search.virgilio.it =ricerca.virgilio.it",
    ("qs",): "=ricerca.libero.it",
    ("szukaj", "q"): "=szukaj.wp.pl =szukaj.onet.pl",
}

_SOCIAL = """
    facebook.com fb.com fb.me messenger.com instagram.com threads.net threads.com twitter.com t.co x.com linkedin.com
    lnkd.in pinterest.* pin.it reddit.com redd.it youtube.com youtu.be tiktok.com snapchat.com tumblr.com t.umblr.com
    vk.com vk.ru vk.cc ok.ru odnoklassniki.ru my.mail.ru weibo.com weibo.cn t.cn wechat.com weixin.qq.com qzone.qq.com
    zhihu.com douban.com xiaohongshu.com douyin.com kuaishou.com bilibili.com tieba.baidu.com line.me whatsapp.com wa.me
    telegram.org telegram.me t.me discord.com discordapp.com discord.gg bsky.app bsky.social mastodon.social
    mastodon.online mstdn.social mas.to fosstodon.org lemmy.world quora.com xing.com flickr.com vimeo.com
    dailymotion.com twitch.tv nextdoor.com gab.com truthsocial.com minds.com mewe.com gettr.com rumble.com
    news.ycombinator.com lobste.rs digg.com slashdot.org stumbleupon.com livejournal.com myspace.com foursquare.com
    plus.google.com plus.url.google.com mixi.jp kakao.com band.us ameblo.jp taringa.net deviantart.com behance.net
    dribbble.com goodreads.com last.fm soundcloud.com meetup.com couchsurfing.com tagged.com badoo.com skyrock.com
    viadeo.com"""

_EMAIL = """
    mail.google.* mail.yahoo.* mail.yahoo.co.jp outlook.live.com mail.live.com outlook.office.com outlook.office365.com
    outlook.com hotmail.com mail.aol.com mail.proton.me mail.protonmail.com mail.zoho.com mail.zoho.eu mail.zoho.in
    app.fastmail.com =mail.com navigator-lxa.mail.com deref-mail.com navigator.gmx.net navigator.gmx.com mail.gmx.net
    mail.gmx.com deref-gmx.net navigator.web.de mail.web.de deref-web.de deref-1und1.de
    email.t-online.de mail.freenet.de mail.yandex.* e.mail.ru m.mail.ru touch.mail.ru light.mail.ru mail.rambler.ru
    mail.qq.com wx.mail.qq.com mail.163.com mail.126.com mail.sina.com.cn mail.sina.cn mail.naver.com mail.daum.net
    mail.kakao.com mail.orange.fr messagerie.orange.fr mail.libero.it mail.tiscali.it mail.virgilio.it
    connect.xfinity.com mail.comcast.net currently.att.yahoo.com email.seznam.cz email.cz poczta.wp.pl poczta.o2.pl
    poczta.onet.pl poczta.interia.pl app.tuta.com mail.tutanota.com app.hey.com mail.bol.com.br mail.uol.com.br
    mail.telenet.be mailchi.mp list-manage.com"""

_APPS = {
    Kind.SEARCH: """
        com.google.android.googlequicksearchbox com.microsoft.bing com.duckduckgo.mobile.android ru.yandex.searchplugin
        com.ecosia.android com.qwant.liberty com.nhn.android.search com.baidu.searchbox""",
    Kind.SOCIAL: """
        com.facebook.katana com.facebook.lite com.facebook.orca com.facebook.mlite com.instagram.android
        com.instagram.lite com.instagram.barcelona com.twitter.android com.twitter.android.lite com.linkedin.android
        com.pinterest com.reddit.frontpage com.google.android.youtube com.zhiliaoapp.musically com.ss.android.ugc.trill
        com.snapchat.android com.tumblr com.vkontakte.android ru.ok.android com.sina.weibo com.tencent.mm com.whatsapp
        com.whatsapp.w4b org.telegram.messenger org.telegram.messenger.web com.discord xyz.blueskyweb.app
        org.joinmastodon.android com.zhihu.android com.xingin.xhs jp.naver.line.android com.kakao.talk com.xing.android
        com.quora.android com.nextdoor tv.twitch.android.app com.vimeo.android.videoapp""",
    Kind.EMAIL: """
        com.google.android.gm com.google.android.gm.lite com.microsoft.office.outlook com.samsung.android.email.provider
        com.yahoo.mobile.client.android.mail com.aol.mobile.aolapp ru.mail.mailapp ru.yandex.mail
        ch.protonmail.android de.gmx.mobile.android.mail de.web.mobile.android.mail com.fsck.k9
        net.thunderbird.android com.readdle.spark me.bluemail.mail com.easilydo.mail""",
}

# A name stands for itself and, unless behind `=`, for names that begin with it: "facebook", "Facebook Ads", "fb_feed".
_NAMES = {
    Kind.SEARCH: """
        google =g googleads adwords bing bingads =msn microsoftads yahoo duckduckgo =ddg ecosia qwant yandex baidu naver
        seznam =brave startpage =kagi""",
    Kind.SOCIAL: """
        facebook facebookads fb meta instagram insta ig =threads twitter =x linkedin =li pinterest reddit youtube =yt
        tiktok snapchat =snap tumblr vk vkontakte =ok odnoklassniki weibo wechat whatsapp =wa telegram =tg discord
        bluesky bsky mastodon quora xing twitch vimeo flickr =line nextdoor =social =socialmedia""",
    Kind.EMAIL: """
        newsletter newsletters email emails =mail =mailing =edm mailchimp klaviyo =hubspot sendgrid mailjet brevo
        sendinblue mailerlite cleverreach rapidmail activecampaign convertkit getresponse campaignmonitor sendpulse
        unisender gmail outlook""",
    Kind.DISPLAY: """
        taboola outbrain criteo doubleclick dv360 =gdn googledisplay adroll rtbhouse teads mgid revcontent""",
}

_COUNTRY = re.compile(r"(?:^|\.)(google|pinterest|yahoo|yandex)\.(?:com?\.)?(?:[a-z]{2}|com|net|org|cat)$")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def _hosts() -> tuple[dict[str, Site], dict[str, Site]]:
    """(those that stand for what is below them too, those that stand for themselves)."""
    below: dict[str, Site] = {}
    itself: dict[str, Site] = {}
    listed = [(Site(Kind.SEARCH, phrase), hosts) for phrase, hosts in _SEARCH.items()]
    for site, hosts in [*listed, (Site(Kind.SOCIAL), _SOCIAL), (Site(Kind.EMAIL), _EMAIL)]:
        for host in hosts.split():
            table = itself if host.startswith("=") else below
            assert host.removeprefix("=") not in below | itself, host
            table[host.removeprefix("=")] = site
    return below, itself


_BELOW, _ITSELF = _hosts()
_BY_APP = {app: Site(kind) for kind, apps in _APPS.items() for app in apps.split()}
_BY_NAME = {name.removeprefix("="): kind for kind, names in _NAMES.items() for name in names.split()}
_OPENING = frozenset(name for names in _NAMES.values() for name in names.split() if not name.startswith("="))


@lru_cache(maxsize=4096)
def site_of_host(host: str) -> Site | None:
    """What is known of a host, given in lower case and without a port."""
    host = host.removeprefix("www.")
    country = _COUNTRY.search(host)
    if country is not None:
        host = f"{host[: country.end(1)]}.*"
    site = _ITSELF.get(host)
    if site is not None:
        return site
    if host.startswith(("webmail.", "roundcube.")):
        return Site(Kind.EMAIL)
    below = host
    while below:
        site = _BELOW.get(below)
        if site is not None:
            return site
        below = below.partition(".")[2]
    return None


def site_of_app(package: str) -> Site | None:
    """What is known of an Android application, by its package in lower case."""
    return _BY_APP.get(package)


@lru_cache(maxsize=4096)
def kind_of_name(name: str) -> Kind | None:
    """What a campaign's source is, by the name or host that the caller of it wrote."""
    name = name.strip().lower()
    words = [word for word in _BETWEEN_WORDS.split(name) if word]
    if not words:
        return None
    kind = _BY_NAME.get("".join(words))
    if kind is not None:
        return kind
    if "." in name:
        site = site_of_host(name)
        return None if site is None else site.kind
    return _BY_NAME[words[0]] if words[0] in _OPENING else None
